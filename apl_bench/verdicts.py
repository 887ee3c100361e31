"""What a judge's raw reply says. What is not plainly a verdict is INVALID: never a default letter, a coin or a tie.

Two forms of reply are read: one JSON object that a schema asked for (`read_json`), and the paper's text format, whose
last line is `Preferred: A` (`read_text`). Both say A or B of the order *shown*; nothing is un-swapped here. A reader is
a function of the reply alone, so that a better one re-labels a ledger without a call.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from apl_bench.templates import Template
from apl_bench.types import Reading, Reply, TokenLogprob, Verdict

DIGITS = 6  # of p_first: so many are the same on every machine

_VERDICTS = {"A": Verdict.FIRST, "B": Verdict.SECOND, "tie": Verdict.TIE}
_LABELS = {label.lower(): label for label in _VERDICTS}

# A line that gives a verdict, or tries to. ASCII, because a long s would pass for an s.
_HEAD = re.compile(r"[ \t]*[*_]{0,3}preferred[*_]{0,3}[ \t]*:", re.IGNORECASE | re.ASCII)
_ANSWER = re.compile(
    r"[*_]{0,3}[ \t]*[*_]{0,3}(?P<opened>[<\"'`\u201c\u2018]{0,2})(?:(?:review|summary)[ \t]+)?(?P<label>a|b|tie)"
    r"\.?(?P<closed>[>\"'`\u201d\u2019]{0,2})[*_]{0,3}\.?[*_]{0,3}[ \t\r]*",
    re.IGNORECASE | re.ASCII,
)
_CLOSING = str.maketrans("<\u201c\u2018", ">\u201d\u2019")
_NOTHING_MORE = re.compile(r"[\s*_`]*")  # what may follow a verdict: the end of a fence or of an emphasis
_VALUE = re.compile(r"\"preferred\"\s*:\s*\"(?P<label>A|B|tie)\"")


@dataclass(frozen=True, slots=True)
class _Found:
    """A label and where its first letter stands in the raw text; `at` is None where that cannot be said."""

    label: str
    at: int | None


def read_text(reply: Reply, template: Template) -> Reading:
    """The reading of a reply in the paper's text format: its last line is `Preferred: A|B`, or `tie` where allowed.

    Tolerated: quotes, emphasis, a full stop, `Review A`, lower case. INVALID: no such line, text after it (which may
    take it back), another line that begins with `Preferred:` and says something else, an outcome that is not ok.
    """
    return _reading(reply, template, _find_in_text)


def read_json(reply: Reply, template: Template) -> Reading:
    """The reading of a structured reply: one JSON object with the template's reason, a text, and `preferred`, a label.

    INVALID: anything around it, a name twice, one too many or too few, a value of another type, an outcome not ok.
    """
    return _reading(reply, template, _find_in_json)


def _reading(reply: Reply, template: Template, find: Callable[[str, Template], _Found | None]) -> Reading:
    found = find(reply.raw, template) if reply.outcome == "ok" else None
    if found is None or found.label not in template.labels:
        return Reading(Verdict.INVALID)
    p_first = None if found.at is None else _probability(reply, found.label, found.at)
    return Reading(_VERDICTS[found.label], p_first)


def _find_in_text(raw: str, template: Template) -> _Found | None:
    del template
    found: list[_Found | None] = []
    start = end = 0
    for line in raw.split("\n"):
        if head := _HEAD.match(line):
            found.append(_answer(line[head.end() :].lstrip(" \t"), start + len(line)))
            end = start + len(line)
        start += len(line) + 1
    last = found[-1] if found else None
    if last is None or not _NOTHING_MORE.fullmatch(raw[end:]):
        return None
    return last if all(each is not None and each.label == last.label for each in found) else None


def _answer(text: str, end: int) -> _Found | None:
    """The label of what follows `Preferred:` on a line that ends at `end`; None unless it is a label and no more."""
    match = _ANSWER.fullmatch(text)
    if match is None or match["closed"] != match["opened"].translate(_CLOSING)[::-1]:
        return None
    return _Found(_LABELS[match["label"].lower()], end - len(text) + match.start("label"))


def _find_in_json(raw: str, template: Template) -> _Found | None:
    try:
        table = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None
    if not isinstance(table, dict) or table.keys() != {template.reason, "preferred"}:
        return None
    reason, label = table[template.reason], table["preferred"]
    if not isinstance(reason, str) or not isinstance(label, str) or label not in _VERDICTS:
        return None
    places = list(_VALUE.finditer(raw))  # inside a text of JSON its quotes would be escaped
    return _Found(label, places[0].start("label") if len(places) == 1 else None)


def _unique(items: list[tuple[str, object]]) -> dict[str, object]:
    """The object, unless a name stands in it twice: then it has no one meaning."""
    if len(dict(items)) != len(items):
        raise ValueError("a name stands twice")
    return dict(items)


def _probability(reply: Reply, label: str, at: int) -> float | None:
    """p(A) / (p(A) + p(B)) among the likeliest tokens at the place of the verdict's letter, rounded to DIGITS.

    None where log-probabilities did not come back, the tokens do not spell the reply, the letter is only part of its
    token, or one of the two letters is not among the likeliest tokens.
    """
    token = _token_at(reply.raw, reply.logprobs, at)
    if label == "tie" or token is None or _letter(token.token) != label:
        return None
    logp: Mapping[str, float] = {token.token: token.logp, **dict(token.top)}
    if not all(math.isfinite(value) and value <= 1e-6 for value in logp.values()):
        return None
    first, second = (_logsumexp([value for text, value in logp.items() if _letter(text) == each]) for each in "AB")
    if first is None or second is None:
        return None
    return round(1 / (1 + math.exp(min(second - first, 700.0))), DIGITS)


def _token_at(raw: str, tokens: Sequence[TokenLogprob], at: int) -> TokenLogprob | None:
    """The token that holds the character `at` of the raw text.

    Counted from the end where the tokens do not spell the beginning: parts of a character have no spelling.
    """
    spelt = "".join(token.token for token in tokens)
    if not spelt.startswith(raw):
        shift = len(spelt) - len(raw)
        if at + shift < 0 or spelt[at + shift :] != raw[at:]:
            return None
        at += shift
    for token in tokens:
        if at < len(token.token):
            return token
        at -= len(token.token)
    return None


def _letter(token: str) -> str | None:
    """A or B where that is all the letters that a token has: "A", " a", 'A"', ' "A'."""
    letters = "".join(char for char in token if char.isalnum())
    return letters.upper() if letters in ("A", "B", "a", "b") else None


def _logsumexp(values: Sequence[float]) -> float | None:
    if not values:
        return None
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))
