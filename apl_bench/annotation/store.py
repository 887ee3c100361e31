"""A queue's files: append-only lines that are read as they grow, bad ones named and left out.

    items.jsonl               what is to be answered, and what a run has taken; written by runs
    answers-<annotator>.jsonl what one annotator answered and took back
    leases.json               who is looking at what, until when; a courtesy that may be lost

Every line is on the disk before its writer goes on. All writers hold the folder's lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from apl_bench.annotation.items import KINDS, VERDICTS, Answer, Item, State

MAX_LINE_BYTES = 4 * 2**20
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
ANSWERS = re.compile(r"answers-([A-Za-z0-9_-]{1,64})\.jsonl")
_ID = re.compile(r"[0-9a-f]{32}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
T = TypeVar("T", Item, Answer)


class LineError(ValueError):
    """A line that is no event of a queue: what is wrong with it."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the queue's lock; the system lets go of it when a process dies."""
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def append(path: Path, events: Sequence[Mapping[str, object]]) -> None:
    """Add lines and wait until they are on the disk; call it with the lock held.

    Raises OSError, and then none of them is in the file, as far as the disk still lets go of them.
    """
    data = b"".join(json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in events)
    is_new = not path.exists()
    with path.open("ab+", buffering=0) as file:
        size = file.tell()
        if size > 0:
            file.seek(-1, os.SEEK_END)
            # A writer that was killed left a torn line: close it, or this one would be glued to it and lost.
            data = data if file.read(1) == b"\n" else b"\n" + data
        try:
            _write(file.fileno(), data)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise
    if is_new:
        _sync_folder(path.parent)


def _write(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]
    os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass
class Tail:
    """A file that others append to: `new_lines` gives each complete line once, with its number from 1."""

    path: Path
    offset: int = 0
    number: int = 0

    def new_lines(self) -> Iterator[tuple[int, bytes]]:
        """A last line that has no end yet is left for the next time."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                self.number += 1
                if line.strip():
                    yield self.number, line


def apply_line(state: State, line: bytes, annotator: str | None) -> None:
    """Add the event of a line: of `annotator`'s file, or of the items file for None. Raises LineError."""
    event = _parse(line)
    name = event.pop("event", None)
    known = _ITEM_EVENTS if annotator is None else _ANSWER_EVENTS
    if name not in known:
        raise LineError(f"event {name!r} is unknown; expected {' or '.join(known)}")
    if annotator is not None and event.get("annotator") != annotator:
        raise LineError(f"it is by {event.get('annotator')!r}, in the file of {annotator!r}")
    known[name](state, event)


def _parse(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise LineError(f"it has {len(line)} bytes; expected at most {MAX_LINE_BYTES}")
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineError(f"it is not JSON: {error}") from None
    if not isinstance(event, dict):
        raise LineError(f"it is {type(event).__name__}; expected an object")
    return event


def _add_item(state: State, event: dict[str, Any]) -> None:
    item = _built(Item, event)
    _expect(_ID.fullmatch(item.id) and _ID.fullmatch(item.original), "ids of 32 hexadecimal digits")
    _expect(item.kind in KINDS, f"a kind of {', '.join(KINDS)}")
    _expect(item.votes % 2 == 1, "an odd number of votes")
    state.add(item)


def _take(state: State, event: dict[str, Any]) -> None:
    _expect(event.keys() == {"item"} and event["item"] in state.items, "a known item")
    state.taken.add(event["item"])


def _answer(state: State, event: dict[str, Any]) -> None:
    answer = _built(Answer, event)
    _expect(answer.verdict in tuple(VERDICTS), f"a verdict of {', '.join(VERDICTS)}")
    _expect(answer.item in state.items, "a known item")
    _expect(is_time(answer.submitted) and (answer.started is None or is_time(answer.started)), "UTC times")
    state.record(answer)


def _retract(state: State, event: dict[str, Any]) -> None:
    _expect(event.keys() == {"item", "annotator", "sequence", "at"}, "item, annotator, sequence and at")
    _expect(type(event["sequence"]) is int, "a whole number as sequence")
    _expect(event["item"] in state.items, "a known item")
    state.retract(event["item"], event["annotator"], event["sequence"])


_ITEM_EVENTS = {"item": _add_item, "taken": _take}
_ANSWER_EVENTS = {"answer": _answer, "retract": _retract}
_TYPES = {"str": str, "int": int}


def is_time(text: str) -> bool:
    """True for a time as a queue writes it: 2026-11-21T12:00:00.123Z."""
    return _TIME.fullmatch(text) is not None


def _built(cls: type[T], event: dict[str, Any]) -> T:
    """The value that an event's fields make, each of its type."""
    expected = {field.name: str(field.type) for field in fields(cls)}
    _expect(event.keys() == expected.keys(), f"the fields {', '.join(expected)}")
    for name, kind in expected.items():
        allows_none = kind.endswith("| None") and event[name] is None
        fits = allows_none or type(event[name]) is _TYPES[kind.removesuffix(" | None")]
        _expect(fits, f"{name} to be {kind}")
    return cls(**event)


def _expect(condition: object, expected: str) -> None:
    if not condition:
        raise LineError(f"expected {expected}")
