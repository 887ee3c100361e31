"""Why a request was not found: the recorded one that is nearest to it, and the fields in which they differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apl_bench.judgments.keys import canonical, parse
from apl_bench.judgments.record import Record, RecordError
from apl_bench.types import JSON

_BEFORE, _BEHIND = b',"request":{', b',"sha256":"'


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
    search = _Search(request)
    for record in records:
        search.offer(record)
    return search.result()


def nearest_of_lines(request: Mapping[str, JSON], lines: Iterable[bytes]) -> Nearest | None:
    """As `nearest_record`, over a ledger's lines: only those that would be the nearest so far are read as records, and
    what is no record is passed over."""
    search = _Search(request)
    for line in lines:
        if search.is_nearer(_request_of(line)):
            try:
                search.offer(Record.from_line(line))
            except RecordError:
                continue
    return search.result()


class _Search:
    """The nearest record so far."""

    def __init__(self, request: Mapping[str, JSON]) -> None:
        self._request = parse(canonical(dict(request)).decode())
        self._best: tuple[int, Record] | None = None

    def is_nearer(self, request: Any) -> bool:
        """True where a record of this request would be nearer than all before."""
        return self._best is None or _num_differing(self._request, request) < self._best[0]

    def offer(self, record: Record) -> None:
        distance = _num_differing(self._request, record.request)
        if self._best is None or distance < self._best[0]:
            self._best = distance, record

    def result(self) -> Nearest | None:
        return self._best and Nearest(self._best[1].key, differences(self._request, self._best[1].request))


def _request_of(line: bytes) -> Any:
    """The request that a line seems to hold, unchecked; None where there is none to be seen.

    In a record nothing before the request is called that: inside of a text, a quotation mark has a backslash before it.
    """
    start, end = line.find(_BEFORE), line.rfind(_BEHIND)
    try:
        request = parse(line[start + len(_BEFORE) - 1 : end].decode("utf-8"))
    except (ValueError, OverflowError, RecursionError):
        return None
    return {name: value for name, value in request.items() if name not in ("k", "kind")}


def _num_differing(one: Any, other: Any) -> int:
    """In how many fields two JSON values differ; a field is a value that holds no others."""
    ours, theirs = _parts(one), _parts(other)
    if ours is None or theirs is None or type(one) is not type(other):
        if ours is None and theirs is None:
            return int(type(one) is not type(other) or one != other)
        return _num_fields(one) + _num_fields(other)
    return sum(
        _num_differing(ours[name], theirs[name])
        if name in ours and name in theirs
        else _num_fields(ours[name] if name in ours else theirs[name])
        for name in ours.keys() | theirs.keys()
    )


def _num_fields(value: Any) -> int:
    parts = _parts(value)
    return 1 if parts is None else sum(map(_num_fields, parts.values()))


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """What a value holds, by name or place; None for one that holds nothing."""
    if isinstance(value, Mapping):
        return value or None
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value)) or None
    return None


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
