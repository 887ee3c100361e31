"""The fields of one JSON object of a stranger's, each of its type and within its bounds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from apl_bench.leaderboard.findings import Refused, refuse, shown

_REMEDY = "build the submission with apl-bench submit"
_MAX_ITEMS = 10_000
_MAX_TEXT = 400


class Fields:
    """An object with exactly these names, of which `optional` ones may be absent. Every method raises Refused (V110),
    which says what was there."""

    def __init__(self, value: Any, place: str, names: Sequence[str], optional: Sequence[str] = ()) -> None:
        self._place = place
        if not isinstance(value, dict):
            raise refuse("V110", place, f"it is {shown(value)}; expected an object", _REMEDY)
        odd = sorted((set(value) ^ set(names)) - (set(optional) - set(value)))
        if odd:
            word = "lacks the field" if odd[0] in names else "has the unknown field"
            raise refuse("V110", place, f"it {word} {shown(odd[0])}", _REMEDY)
        self._value: dict[str, Any] = value

    def wrong(self, name: str, expected: str) -> Refused:
        """The error for a field that is not as expected."""
        sentence = f"{name} is {shown(self._value[name])}; expected {expected}"
        return refuse("V110", f"{self._place} {name}", sentence, _REMEDY)

    def text(self, name: str, shortest: int = 0, longest: int = 0, pattern: re.Pattern[str] | None = None) -> str:
        """A text of so many letters, or one that the pattern matches."""
        value = self._value[name]
        if pattern is not None:
            if not (isinstance(value, str) and pattern.fullmatch(value)):
                raise self.wrong(name, f"a text like {pattern.pattern}")
        elif not (isinstance(value, str) and shortest <= len(value) <= longest):
            raise self.wrong(name, f"a text of {shortest} to {longest} letters")
        return str(value)

    def optional_text(self, name: str, pattern: re.Pattern[str]) -> str | None:
        """Null, or a text that the pattern matches."""
        return None if self._value[name] is None else self.text(name, pattern=pattern)

    def one_of(self, name: str, known: Sequence[str]) -> str:
        """One of these words."""
        value = self._value[name]
        if not (isinstance(value, str) and value in known):
            raise self.wrong(name, " or ".join(known))
        return value

    def whole(self, name: str, least: int, most: int) -> int:
        """A whole number within these bounds."""
        value = self._value[name]
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(name, f"a whole number from {least} to {most}")
        return value

    def number(self, name: str, least: float, most: float) -> float:
        """A number within these bounds."""
        value = self._value[name]
        if type(value) not in (int, float) or not least <= value <= most:
            raise self.wrong(name, f"a number from {least} to {most}")
        return float(value)

    def optional_number(self, name: str, least: float, most: float) -> float | None:
        """Null, or a number within these bounds."""
        return None if self._value[name] is None else self.number(name, least, most)

    def truth(self, name: str) -> bool:
        """True or false."""
        value = self._value[name]
        if type(value) is not bool:
            raise self.wrong(name, "true or false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of short texts."""
        value = self._value[name]
        if not (isinstance(value, list) and len(value) <= _MAX_ITEMS
                and all(isinstance(item, str) and len(item) <= _MAX_TEXT for item in value)):  # fmt: skip
            raise self.wrong(name, "a list of short texts")
        return tuple(value)

    def whole_numbers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers of 0 or more."""
        value = self._value[name]
        if not (isinstance(value, list) and 0 < len(value) <= _MAX_ITEMS
                and all(type(item) is int and 0 <= item < 2**53 for item in value)):  # fmt: skip
            raise self.wrong(name, "a list of whole numbers of 0 or more")
        return tuple(value)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object of any fields."""
        value = self._value[name]
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return value

    def optional_table(self, name: str, names: Sequence[str]) -> Fields | None:
        """An object with exactly these names; None where the field is absent."""
        return self.table(name, names) if name in self._value else None

    def table(self, name: str, names: Sequence[str]) -> Fields:
        """An object with exactly these names."""
        return Fields(self._value[name], f"{self._place} {name}", names)

    def tables(self, name: str, names: Sequence[str]) -> list[Fields]:
        """One or more objects with exactly these names."""
        value = self._value[name]
        if not (isinstance(value, list) and 0 < len(value) <= _MAX_ITEMS):
            raise self.wrong(name, "a list of objects, at least one")
        return [Fields(item, f"{self._place} {name}[{i}]", names) for i, item in enumerate(value)]
