"""Columns of a recorded file as texts that compress well: numbers in hexadecimal, tokens as letters.

Every function here has an inverse, which believes nothing: ValueError for what no column can be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Self

_HEX = re.compile(r"-?[01](?:\.[0-9a-f]{1,13})?p[+-][0-9]{1,4}")
MAX_TEXT = 2**16  # letters of a prompt or a completion: whoever judges one reads all of it
MAX_PIECE = 512  # letters of a token
_NULL = "-"
_FIRST_LETTER = 0x21
_NO_LETTERS = (
    range(0x22, 0x23),
    range(0x5C, 0x5D),
    range(0x7F, 0xA1),
    range(0xD800, 0xE000),
)  # quotes, controls, halves


def pack_floats(values: Iterable[float | None]) -> str:
    """Exact, and half as long as decimals where numbers are sums of few float32; ValueError for what is no float."""
    return " ".join(_NULL if value is None else _hex(value) for value in values)


def unpack_floats(text: str) -> list[float | None]:
    """What `pack_floats` was given."""
    return [None if word == _NULL else _float(word) for word in text.split(" ")] if text else []


def _hex(value: float) -> str:
    if type(value) is not float:
        raise ValueError(f"{value!r} is no float")
    mantissa, _, exponent = value.hex().replace("0x", "").partition("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}"


def _float(word: str) -> float:
    if not _HEX.fullmatch(word):
        raise ValueError(f"{word[:40]!r} is no number in hexadecimal")
    sign = "-" if word.startswith("-") else ""
    try:
        return float.fromhex(f"{sign}0x{word.removeprefix('-')}")
    except OverflowError:
        raise ValueError(f"{word!r} is beyond a float") from None


def pack_bits(values: Iterable[bool]) -> str:
    """A letter for each."""
    return "".join("1" if value else "0" for value in values)


def unpack_bits(text: str) -> list[bool]:
    """What `pack_bits` was given."""
    if set(text) - {"0", "1"}:
        raise ValueError("a column of bits has other letters than 0 and 1")
    return [letter == "1" for letter in text]


def letters(num: int) -> list[str]:
    """The first `num` letters that stand for tokens: those that JSON needs not escape, the shortest first."""
    return list(islice(_letters(), num))


def _letters() -> Iterator[str]:
    for code in range(_FIRST_LETTER, 0x110000):
        if not any(code in span for span in _NO_LETTERS):
            yield chr(code)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a submission, the most frequent first, and the text of each, None where no tokenizer said it."""

    token_ids: tuple[int, ...]
    pieces: tuple[str, ...] | None

    @classmethod
    def of(cls, completions: Iterable[Sequence[int]], pieces: Mapping[int, str] | None) -> Self:
        """Of all completions; of equally frequent tokens the one with the smaller id comes first."""
        counts = Counter(token for completion in completions for token in completion)
        token_ids = tuple(sorted(counts, key=lambda token: (-counts[token], token)))
        return cls(token_ids, None if pieces is None else tuple(pieces.get(token, "") for token in token_ids))

    @cached_property
    def letter(self) -> dict[int, str]:
        """The letter of each token."""
        return dict(zip(self.token_ids, letters(len(self.token_ids)), strict=True))

    @cached_property
    def token(self) -> dict[str, int]:
        """The token of each letter."""
        return {letter: token for token, letter in self.letter.items()}

    @cached_property
    def piece(self) -> dict[int, str]:
        """The text of each token; empty where it is not known."""
        return {} if self.pieces is None else dict(zip(self.token_ids, self.pieces, strict=True))

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of a completion, as far as it is its tokens' one after another."""
        return "".join(self.piece.get(token, "") for token in token_ids)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "tokens", "token_ids": list(self.token_ids),
                "pieces": None if self.pieces is None else list(self.pieces)}  # fmt: skip

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        ids, pieces = row["token_ids"], row["pieces"]
        if not all(type(token) is int for token in ids) or len(set(ids)) != len(ids):
            raise ValueError("token ids are whole numbers, each once")
        if pieces is not None and (len(pieces) != len(ids) or not all(is_text(piece, MAX_PIECE) for piece in pieces)):
            raise ValueError(f"there is a text of at most {MAX_PIECE} letters for each token, or none at all")
        return cls(tuple(ids), None if pieces is None else tuple(pieces))


def is_text(value: object, longest: int) -> bool:
    """Whether a value is a text of at most so many letters."""
    return isinstance(value, str) and len(value) <= longest


def pack_completions(rows: Sequence[Mapping[str, Any]], vocabulary: Vocabulary) -> dict[str, Any]:
    """Completions as they are recorded; the texts that do not follow from their tokens stand apart."""
    texts = [[place, row["text"]] for place, row in enumerate(rows)
             if row["text"] != vocabulary.text(row["token_ids"])]  # fmt: skip
    tokens = " ".join("".join(vocabulary.letter[token] for token in row["token_ids"]) for row in rows)
    return {"tokens": tokens, "texts": texts, "finished": pack_bits(row["finished"] for row in rows)}


def unpack_completions(column: Mapping[str, Any], vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """What `pack_completions` was given."""
    finished, texts = unpack_bits(column["finished"]), dict(column["texts"])
    words = column["tokens"].split(" ") if finished else []
    rows = []
    for place, (word, ended) in enumerate(zip(words, finished, strict=True)):
        token_ids = [vocabulary.token[letter] for letter in word]
        text = texts[place] if place in texts else vocabulary.text(token_ids)
        if not is_text(text, MAX_TEXT):
            raise ValueError(f"a completion is no text of at most {MAX_TEXT} letters")
        rows.append({"text": text, "token_ids": token_ids, "finished": ended})
    return rows
