"""How far a text is from review English: repetition, words that do not go together, unknown words, odd characters.

Each measure is a plain rate; a Penalty turns what exceeds the level usual in human fragments into nats.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from apl_bench.oracles.words import UNKNOWN, pair_key

WINDOW = 40  # words; a recurrence further back is not repetition
MAX_ASSOCIATION = 3.0  # nats; one stock phrase cannot make up for a heap of words

_FUNCTION_WORDS_TEXT = (
    "a about after again all also am an and any are as at be because been before being but by can could did do does "
    "for from get had has have he her here him his how i if in into is it it's its just like made make me more most "
    "much my no not now of off on one only or other our out over so some such than that that's the their them then "
    "there these they this those through to too up very was we well were what when where which while who why will "
    "with would you your i'm i've don't doesn't didn't isn't wasn't can't"
)
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS_TEXT.split())
_ODD = re.compile(
    r"(\S)\1{3,}"  # one character four times or more in a row
    r"|[^\w\s.,;:!?()'\"/&%$*#+\[\]\u00a3\u2018\u2019\u201c\u201d\u2013\u2014\u2026-]"  # no letter, digit or usual mark
    r"|[_\ufffd]"
    r"|(?<=[^\W\d])[;:!?](?=[^\W\d])"  # a mark inside a word
)


@dataclass(frozen=True, slots=True)
class Penalty:
    """nats = weight * the smooth excess of a measure over `level`; `softness` is the width of the bend at the level."""

    level: float
    softness: float
    weight: float

    def __call__(self, measure: float) -> float:
        """The penalty in nats, positive, increasing, and nearly 0 well below the level."""
        excess = measure - self.level
        return self.weight * (excess + math.sqrt(excess * excess + self.softness * self.softness)) / 2


@dataclass(frozen=True, slots=True)
class Association:
    """How much more often a word follows another than by chance, nats: a smoothed word-pair model of review English.

    `pairs` holds it for pairs that were seen; any other pair has `after[first] + before[second]` (back-off).
    """

    pairs: dict[int, float]
    after: Sequence[float]
    before: Sequence[float]

    def __call__(self, first: int, second: int) -> float:
        """log p(second | first) / p(second), within +-MAX_ASSOCIATION."""
        value = self.pairs.get(pair_key(first, second))
        if value is None:
            value = self.after[first] + self.before[second]
        return min(max(value, -MAX_ASSOCIATION), MAX_ASSOCIATION)


def repetition(tokens: Sequence[str]) -> float:
    """Content words and word triples that occurred already within the last WINDOW words, as a share of all words."""
    words = [token.lower() for token in tokens if token[0].isalnum()]
    content = [(place, word) for place, word in enumerate(words) if word not in FUNCTION_WORDS]
    triples = list(enumerate(zip(words, words[1:], words[2:], strict=False)))
    return (_recurrences(content) + _recurrences(triples)) / max(len(words), 1)


def _recurrences(items: Sequence[tuple[int, object]]) -> int:
    """How many items stood less than WINDOW places earlier as well."""
    last: dict[object, int] = {}
    count = 0
    for place, item in items:
        count += place - last.get(item, -WINDOW) < WINDOW
        last[item] = place
    return count


def incoherence(ids: Sequence[int], association: Association) -> float:
    """Minus the mean association of adjacent words, nats: about -1.3 for people, above 0 for words in random order.

    A mean over pairs, relative to chance, so that rare words cost nothing by being rare. A word right after itself
    counts as chance: it is repetition, never fluency. Fewer than two words are coherent: the lowest value there is.
    """
    pairs = list(pairwise(ids))
    if not pairs:
        return -MAX_ASSOCIATION
    return -math.fsum(association(a, b) if a != b else 0.0 for a, b in pairs) / len(pairs)


def unknown_share(tokens: Sequence[str], ids: Sequence[int]) -> float:
    """The share of words outside the vocabulary; capitalised ones pass as names, numbers as numbers."""
    strange = sum(i == UNKNOWN and token.isalpha() and token.islower() for token, i in zip(tokens, ids, strict=True))
    return strange / max(len(tokens), 1)


def odd_share(text: str) -> float:
    """The share of characters that reviews hardly have: symbols, control characters, one character many times over."""
    return sum(len(match[0]) for match in _ODD.finditer(text)) / max(len(text), 1)
