"""Replies by the hundred thousand, and a second, slower reader that says which of them are verdicts.

    python -m tests.fuzz_verdicts --replies 100000

Replies are made by mutating valid ones, by putting fragments of verdicts together, and from noise. The second reader
shares no code with `apl_bench.verdicts`: it goes through the characters one by one, without a regular expression and
without json. It prints how many replies were labels, and every reply on which the two disagree.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from apl_bench.templates import load
from apl_bench.types import Reply, Verdict
from apl_bench.verdicts import read_json, read_text

FRAGMENTS = ("Preferred", "preferred", "PREFERRED", "Prefered", "Preferred:", "Preferred: ", "A", "B", "a", "b", "tie",
             "C", "AB", "A or B", "Review A", "Summary B", "review", '"', "'", "**", "*", "__", "`", "```", ".", "..",
             ":", " ", "\t", "\n", "\n\n", "\r\n", "<", ">", "\u201c", "\u201d", "{", "}", ",", '"preferred"', "null",
             "\\", "\\u0041", '"comparison"', "Comparison: ", "Both are fine.", "\x00", "\u2028", "\ud83d", "[", "]",
             "{{COMPLETION_B}}", "Preferred: A\n", "Preferred: B\n", '"preferred": "A"', "\u0410", "\uff21", "-", "(A)",
             "\u017f", "1", "true")  # fmt: skip
VALID = ("Comparison: A is better.\nPreferred: A", "Comparison: B is better.\nPreferred: B", 'x\nPreferred: "A"',
         "Reason: one.\n**Preferred:** B", "**Preferred: A**", "preferred: review b.", "Preferred: tie\n",
         "Preferred: A\n\n", '{"comparison": "A is better", "preferred": "A"}', '{"comparison":"","preferred":"B"}',
         '{"preferred": "B", "comparison": "a \\"word\\" \\u00e9"}',
         '{"comparison": "t", "preferred": "tie"}')  # fmt: skip

NEARLY = ('{"comparison": "x", "preferred": "A", "preferred": "A"}', "Preferred: \u017fummary A", "Preferred: \u212aA",
          '{"comparison": "x", "preferred": "A", "preferred": "B"}', '{"comparison": null, "preferred": "A"}',
          "Preferred: A\nI take that back.", 'Preferred: "A', "Preferred: A or B", "> Preferred: A")  # fmt: skip


def reply(rng: random.Random) -> str:
    """One reply: one that is valid, or nearly so, with up to four mutations; fragments in a row; or noise."""
    kind = rng.random()
    if kind < 0.6:
        text = rng.choice(VALID + NEARLY)
        for _ in range(rng.randrange(5)):
            text = _mutated(text, rng)
        return text
    if kind < 0.9:
        return "".join(rng.choice(FRAGMENTS) for _ in range(rng.randrange(12)))
    return "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0xD800)))) for _ in range(rng.randrange(60)))


def _mutated(text: str, rng: random.Random) -> str:
    at, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
    choice = rng.randrange(5)
    if choice == 0:
        return text[:at] + rng.choice(FRAGMENTS) + text[at:]
    if choice == 1:
        return text[:at] + text[min(at + 1, end) :]
    if choice == 2:
        return text[:at] + text[end:]
    if choice == 3:
        return text[:at] + text[at:end] + text[at:]
    return text + rng.choice(("\n", " ", "")) + rng.choice(VALID)


# The second reader


def label_in_text(raw: str, allowed: tuple[str, ...]) -> str | None:
    """What the text format says, by the rules in words.

    Every line that begins with the word and a colon says the same label and no more, and nothing but white space and
    emphasis follows the last of them.
    """
    lines = raw.split("\n")
    places = [number for number, line in enumerate(lines) if _after_word(line) is not None]
    if not places or any(char not in "*_`" and not char.isspace() for line in lines[places[-1] + 1 :] for char in line):
        return None
    labels = {_bare_label(_after_word(lines[number]) or "") for number in places}
    label = labels.pop() if len(labels) == 1 else None
    return label if label in allowed else None


def _after_word(line: str) -> str | None:
    """What follows the word and its colon; None for a line that does not begin with them."""
    rest = _drop(line.lstrip(" \t"), "*_", 3)
    if rest[:9] not in {"".join(word) for word in _spellings(rest[:9])}:
        return None
    rest = _drop(rest[9:], "*_", 3).lstrip(" \t")
    return rest[1:] if rest[:1] == ":" else None


def _spellings(word: str) -> Iterator[str]:
    """The word itself where it is "preferred" in ASCII letters of any case."""
    if word.isascii() and word.lower() == "preferred":
        yield word


def _drop(text: str, chars: str, most: int) -> str:
    """The text without up to `most` of these characters at its start."""
    count = 0
    while count < most and text[count : count + 1] and text[count] in chars:
        count += 1
    return text[count:]


def _drop_end(text: str, chars: str, most: int) -> str:
    return _drop(text[::-1], chars, most)[::-1]


def _bare_label(text: str) -> str | None:
    """The label that is all of this text but for white space, emphasis, one full stop and a pair of quotes."""
    text = _drop(_drop(text.lstrip(" \t"), "*_", 3).lstrip(" \t"), "*_", 3)
    text = text.rstrip(" \t\r")
    for stop in (0, 1):
        for ending in _endings(text, stop):
            label = _quoted_label(ending)
            if label is not None:
                return label
    return None


def _endings(text: str, stop: int) -> Iterator[str]:
    """The text without up to three marks of emphasis, a full stop and three more at its end, in every way."""
    for outer in range(4):
        without = _drop_end(text, "*_", outer)
        if stop and without.endswith("."):
            for inner in range(4):
                yield _drop_end(without[:-1], "*_", inner)
        if not stop:
            for inner in range(4):
                yield _drop_end(without, "*_", inner)


def _quoted_label(text: str) -> str | None:
    pairs = {"<": ">", '"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019"}
    for _ in range(2):
        if len(text) > 1 and text[0] in pairs and text[-1] == pairs[text[0]]:
            text = text[1:-1]
    text = text.removesuffix(".")
    if not text.isascii():
        return None
    words = text.lower().replace("\t", " ").split(" ")
    if len(words) > 1 and words[0] in ("review", "summary") and not any(words[1:-1]):
        words = words[-1:]
    return {"a": "A", "b": "B", "tie": "tie"}.get(words[0]) if len(words) == 1 else None


def label_in_json(raw: str, reason: str, allowed: tuple[str, ...]) -> str | None:
    """What a structured reply says: an object of two texts, read character by character."""
    scanner = _Scanner(raw.strip(" \t\r\n"))
    table = scanner.flat_object()
    if table is None or len(table) != 2 or {name for name, _ in table} != {reason, "preferred"}:
        return None
    label = dict(table)["preferred"]
    return label if label in allowed else None


@dataclass
class _Scanner:
    text: str
    at: int = 0

    def flat_object(self) -> list[tuple[str, str]] | None:
        """The names and texts of an object that is all of the text and holds nothing but texts."""
        items: list[tuple[str, str]] = []
        if not self._take("{"):
            return None
        while True:
            name = self._string()
            value = self._string() if name is not None and self._take(":") else None
            if name is None or value is None:
                return None
            items.append((name, value))
            if self._take("}"):
                return items if self.at == len(self.text) else None
            if not self._take(","):
                return None

    def _take(self, mark: str) -> bool:
        self._skip()
        found = self.text[self.at : self.at + 1] == mark
        self.at += found
        return found

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
            self.at += 1

    def _string(self) -> str | None:
        if not self._take('"'):
            return None
        found = ""
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == '"':
                return found
            if char < " ":
                return None
            escape = self._escape() if char == "\\" else char
            if escape is None:
                return None
            found += escape
        return None

    def _escape(self) -> str | None:
        char = self.text[self.at : self.at + 1]
        self.at += 1
        if char != "u":
            return dict(zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True)).get(char)
        digits = self.text[self.at : self.at + 4]
        self.at += 4
        plain = len(digits) == 4 and all(digit in "0123456789abcdefABCDEF" for digit in digits)
        return chr(int(digits, 16)) if plain else None


# Both readers on the same replies


@dataclass
class Tally:
    """How many replies of each verdict and form, and those on which the readers disagree."""

    counts: Counter[tuple[str, str]]
    disagreements: list[tuple[str, str, str | None, str]]


def compare(num_replies: int, seed: int) -> Tally:
    """Read `num_replies` replies in both forms, under a template that allows a tie and one that does not."""
    rng, tally = random.Random(seed), Tally(Counter(), [])
    paper, ours = load("paper-sentiment-v1"), load("sentiment-v2")
    verdicts = {"A": Verdict.FIRST, "B": Verdict.SECOND, "tie": Verdict.TIE, None: Verdict.INVALID}
    for _ in range(num_replies):
        raw = reply(rng)
        asked = Reply(raw, "fuzz")
        for form, label, reading in (
            ("text", label_in_text(raw, paper.labels), read_text(asked, paper)),
            ("text with ties", label_in_text(raw, ours.labels), read_text(asked, ours)),
            ("json", label_in_json(raw, paper.reason, paper.labels), read_json(asked, paper)),
        ):
            tally.counts[form, reading.verdict.value] += 1
            if reading.verdict is not verdicts[label]:
                tally.disagreements.append((form, raw, label, reading.verdict.value))
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tally = compare(options.replies, options.seed)
    for (form, verdict), count in sorted(tally.counts.items()):
        print(f"{form:16} {verdict:8} {count}")
    print(f"{len(tally.disagreements)} disagreements")
    for form, raw, label, verdict in tally.disagreements[:20]:
        print(ascii((form, raw, label, verdict)))


if __name__ == "__main__":
    main()
