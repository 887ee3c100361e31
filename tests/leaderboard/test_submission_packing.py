"""What is packed comes back to the bit; what nobody packed is an error, and nothing else."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.judgments.record import Record
from apl_bench.leaderboard.packing.answers import pack_replies, unpack_replies
from apl_bench.leaderboard.packing.columns import (
    Vocabulary,
    letters,
    pack_bits,
    pack_completions,
    pack_floats,
    unpack_bits,
    unpack_completions,
    unpack_floats,
)
from apl_bench.types import Reply, TokenLogprob

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def bits(value: float | None) -> bytes | None:
    return None if value is None else struct.pack("d", value)


@given(st.lists(st.none() | FLOATS))
def test_floats_to_the_bit(values: list[float | None]) -> None:
    assert list(map(bits, unpack_floats(pack_floats(values)))) == list(map(bits, values))


def test_floats_by_hand() -> None:
    assert pack_floats([0.5, None, -20.48691701889038, 0.0, -0.0]) == "1p-1 - -1.47ca6ap+4 0p+0 -0p+0"
    assert unpack_floats("1p-1 - -1.8p+1") == [0.5, None, -3.0]
    assert unpack_floats("") == []


@pytest.mark.parametrize("text", ["nan", "inf", "1p+9999", "0x1p3", "1.0", "1p", " ", "1p-1  1p-1", "\u0661p+0"])
def test_what_is_no_column_of_floats(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|float"):
        unpack_floats(text)


@pytest.mark.parametrize("value", [1, True, "1", math.nan, math.inf])
def test_what_cannot_be_packed_exactly(value: Any) -> None:
    with pytest.raises(ValueError, match="is no"):
        unpack_floats(pack_floats([value]))


@given(st.lists(st.booleans()))
def test_bits(values: list[bool]) -> None:
    assert unpack_bits(pack_bits(values)) == values


def test_letters_need_no_escape() -> None:
    found = letters(60_000)
    assert len(set(found)) == 60_000
    assert not any(letter in found for letter in ' "\\\n\x7f')
    assert "".join(found).encode()


COMPLETIONS = st.lists(
    st.fixed_dictionaries(
        {"text": st.text(max_size=8), "token_ids": st.lists(st.integers(0, 5), max_size=6), "finished": st.booleans()}
    )
)


@given(COMPLETIONS, st.none() | st.dictionaries(st.integers(0, 5), st.text(max_size=3)))
def test_completions_with_any_tokenizer_or_none(rows: list[dict[str, Any]], pieces: dict[int, str] | None) -> None:
    vocabulary = Vocabulary.of([row["token_ids"] for row in rows], pieces)
    again = Vocabulary.from_json(vocabulary.to_json())
    assert unpack_completions(pack_completions(rows, vocabulary), again) == rows


def test_texts_that_follow_from_tokens_are_left_out() -> None:
    rows = [
        {"text": " a film", "token_ids": [7, 9], "finished": False},
        {"text": "odd", "token_ids": [9], "finished": True},
    ]
    packed = pack_completions(rows, Vocabulary.of([[7, 9], [9]], {7: " a", 9: " film"}))
    assert packed == {"tokens": "#! !", "texts": [[1, "odd"]], "finished": "01"}


def test_replies_with_all_that_they_may_hold() -> None:
    first = Reply(
        "A", "m", "ok", "stop", "id-1", {"prompt_tokens": 3}, 0.25, (TokenLogprob("A", -0.5, (("A", -0.5),)),)
    )
    replies = [first, Reply("B", "m", "refused")]
    packed = pack_replies([Record.of({"number": number}, reply) for number, reply in enumerate(replies)])
    assert packed["model"] == {"all": "m"}
    assert packed["raw"] == {"each": ["A", "B"]}
    assert unpack_replies(packed) == replies
    assert unpack_replies(pack_replies([])) == []
