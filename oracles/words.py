"""Reading text as words and marks: the one tokeniser of the shipped classifiers, at training time and at run time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NOTHING, NEGATED, UNKNOWN = 0, 1, 2  # reserved ids, never a word's own
FIRST_WORD = 3
MAX_WORDS = 2**16 - FIRST_WORD  # two ids make one 32-bit key

_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+|[.,;:!?()]")
_CUT = re.compile(r"[^\W_'-]['-]?\Z")
_BREAKS = frozenset(".,;:!?()")
_NEGATORS_TEXT = (
    "not no never nothing nobody nowhere neither nor none hardly barely scarcely without cannot lacks lacking "
    "dont didnt doesnt isnt wasnt arent cant couldnt wont wouldnt shouldnt aint havent hasnt"
)
_NEGATORS = frozenset(_NEGATORS_TEXT.split())


def tokenize(text: str) -> list[str]:
    """Words, numbers and the marks that end a phrase, in order, as written; quotes, dashes and symbols are left out."""
    return _TOKEN.findall(text.replace("\u2019", "'"))


def may_be_cut(text: str) -> bool:
    """True where the text ends in a word: a completion stopped by its token limit may end in half of one."""
    return _CUT.search(text.rstrip(" ")) is not None


def pair_key(first: int, second: int) -> int:
    """The key of two adjacent ids in a table."""
    return first << 16 | second


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words a classifier knows: `ids` by lower-case word; the ids that break a phrase; the ids that negate."""

    ids: Mapping[str, int]
    breaks: frozenset[int]
    negators: frozenset[int]

    @classmethod
    def of(cls, words: Sequence[str]) -> Vocabulary:
        """From the list that ships; a word's id is its place in it, after the reserved ones. ValueError if too long."""
        if len(words) > MAX_WORDS:
            raise ValueError(f"a vocabulary of {len(words)} words; expected at most {MAX_WORDS}")
        ids = {word: place for place, word in enumerate(words, FIRST_WORD)}
        negators = {place for word, place in ids.items() if word in _NEGATORS or word.endswith("n't")}
        return cls(ids, frozenset(ids[mark] for mark in _BREAKS if mark in ids), frozenset(negators))

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """The id of each token, UNKNOWN where it has none."""
        return [self.ids.get(token.lower(), UNKNOWN) for token in tokens]
