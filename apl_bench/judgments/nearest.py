"""Why a request was not found: the recorded one that is nearest to it, and the fields in which they differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apl_bench.judgments.record import Record
from apl_bench.types import JSON


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of a request: what was wanted, and what is recorded; "nothing" where a side has no such field."""

    field: str
    wanted: str
    recorded: str

    def __str__(self) -> str:
        return f"{self.field}: wanted {self.wanted}, recorded {self.recorded}"


@dataclass(frozen=True, slots=True)
class Nearest:
    """The record whose request differs in the fewest fields."""

    key: str
    differences: tuple[Difference, ...]


def nearest_record(request: Mapping[str, JSON], records: Iterable[Record]) -> Nearest | None:
    """The record nearest to a request, the first one of equals; None where there are no records."""
    wanted = _leaves(request)
    best: tuple[int, Record] | None = None
    for record in records:
        recorded = _leaves(record.request)
        distance = sum(wanted.get(field) != recorded.get(field) for field in {*wanted, *recorded})
        if best is None or distance < best[0]:
            best = distance, record
    return best and Nearest(best[1].key, differences(request, best[1].request))


def differences(wanted: Mapping[str, JSON], recorded: Mapping[str, JSON]) -> tuple[Difference, ...]:
    """The fields in which two requests differ, in the order of the first; values are shortened and escaped."""
    ours, theirs = _leaves(wanted), _leaves(recorded)
    fields = dict.fromkeys([*ours, *theirs])
    return tuple(
        Difference(_short(field), _short(ours.get(field)), _short(theirs.get(field)))
        for field in fields
        if ours.get(field) != theirs.get(field)
    )


def _leaves(value: Any, field: str = "") -> dict[str, str]:
    """Path of a field -> its value as ASCII JSON, so that 1, "1" and true stay apart and nothing needs escaping."""
    if isinstance(value, Mapping) and value:
        parts = [_leaves(item, f"{field}.{name}" if field else str(name)) for name, item in value.items()]
    elif isinstance(value, (list, tuple)) and value:
        parts = [_leaves(item, f"{field}[{i}]") for i, item in enumerate(value)]
    else:
        return {field: json.dumps(value)}
    return {name: leaf for part in parts for name, leaf in part.items()}


def _short(text: str | None) -> str:
    if text is None:
        return "nothing"
    plain = ascii(text)[1:-1] if not text.isascii() or not text.isprintable() else text
    return plain if len(plain) <= 120 else f"{plain[:80]}...{plain[-37:]}"
