"""Text that others wrote made harmless, and numbers as people read them: for terminals, tables and figures alike."""

from __future__ import annotations

import math
import unicodedata

MISSING = "-"


def safe(text: object) -> str:
    """One line without control, bidirectional or unpaired surrogate characters, which could trick a terminal."""
    return " ".join("".join(map(_harmless, str(text))).split())


def safe_lines(text: str) -> str:
    """As `safe`, line by line, indentation kept."""
    return "\n".join("".join(map(_harmless, line)).rstrip() for line in text.splitlines())


def encodable(text: str) -> bool:
    """Whether it can be written as UTF-8: a text with half of a surrogate pair can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _harmless(character: str) -> str:
    if character in "\t\n\r":
        return " "
    return "" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") else character


def quantity(num: int, one: str, more: str | None = None) -> str:
    """1 seed, 6 seeds; the plural is given where it is irregular."""
    return f"{num} {one if num == 1 else more or one + 's'}"


def number(value: float | None, digits: int = 4, signed: bool = False) -> str:
    """A number with so many digits; a dash where there is none, never a 0."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:{'+' if signed else ''}z.{digits}f}"  # z: no minus sign before a zero
