"""Parameters as a user may have written them: of the right kind and size, or a SpecError that says what is."""

from __future__ import annotations

from apl_bench.spec import require


def share(name: str, value: object) -> float:
    """A number from 0 to 1."""
    return number(name, value, 0, 1)


def number(name: str, value: object, least: float, most: float) -> float:
    """A number within bounds; True and NaN are none."""
    valid = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    require(valid, name, value, f"a number from {least:g} to {most:g}")
    assert isinstance(value, int | float)
    return float(value)


def whole(name: str, value: object, least: int, most: int) -> int:
    """A whole number within bounds; True is none."""
    valid = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    require(valid, name, value, f"a whole number from {least} to {most}")
    assert isinstance(value, int)
    return value
