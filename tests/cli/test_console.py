"""What reaches a terminal."""

from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.cli.console import number, safe, safe_lines, table


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    assert not {unicodedata.category(character) for character in safe(text)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not {unicodedata.category(character) for character in safe_lines(text).replace("\n", "")} & {
        "Cc",
        "Cf",
        "Cs",
    }


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_harmless_text_stays(text: str) -> None:
    assert safe(text) == text


def test_examples() -> None:
    assert safe("\x1b]0;owned\x07plain\r\n\ttext") == "]0;ownedplain text"
    assert safe("abc\u202edef\ud800") == "abcdef"
    assert safe_lines("Traceback:\n    \x1b[31mline\x1b[0m") == "Traceback:\n    [31mline[0m"


def test_tables_align_numbers_right_and_show_what_is_missing() -> None:
    drawn = table(["name", "x"], [("a", "1.5"), ("long\x1b", ""), ("b", "-10.25")])
    assert drawn.splitlines() == ["name       x", "a        1.5", "long       -", "b     -10.25"]


def test_a_hostile_column_is_made_harmless() -> None:
    assert table(["\x1bname\u202e"], [("a",)]).splitlines()[0] == "name"


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.0000"), (-0.25, "-0.2500"), (None, "-"), (math.nan, "-")])
def test_a_missing_number_is_a_dash_and_never_zero(value: float | None, text: str) -> None:
    assert number(value) == text


def test_signs() -> None:
    assert number(0.0312, signed=True) == "+0.0312"
