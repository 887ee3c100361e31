"""Items and answers as files: JSON lines of our own, Label Studio's tasks, Argilla's records.

A file from elsewhere is believed in nothing: an answer is taken only if its item is in the queue and the texts that
were shown are the queue's, by their sha256. Either all of a file's answers are taken or none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apl_bench.annotation import argilla, label_studio
from apl_bench.annotation.items import VERDICTS, Answer, Item
from apl_bench.annotation.labels import Label, expect
from apl_bench.annotation.queue import ORDER_SALT, Queue, utc
from apl_bench.annotation.store import MAX_LINE_BYTES, NAME, is_time
from apl_bench.randomness import unit_interval
from apl_bench.types import SpecError

SCHEMA = "apl-annotate/1"
UI_VERSION = "import/1"
MAX_FILE_BYTES = 512 * 2**20
_FIELDS = ("schema", "item", "sha256", "question", "prompt", "first", "second",
           "verdict", "annotator", "started", "submitted")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Taken:
    """What an import did: answers that are new, and those that were there already."""

    num_new: int
    num_known: int


def read_text(path: Path) -> str:
    """A file's text. Raises SpecError where it is too large or no UTF-8."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise SpecError(f"{path} has {size} bytes; expected at most {MAX_FILE_BYTES}: split it")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not UTF-8 text: {error}") from None


def shuffled(items: Sequence[Item]) -> list[Item]:
    """The items in an order of their own, in which a check does not stand beside its original."""
    return sorted(items, key=lambda item: unit_interval(ORDER_SALT, "export", item.id))


def to_jsonl(items: Sequence[Item], answers: Sequence[Answer]) -> str:
    """A line for each answer, and one with null in its place for each item that has none; ASCII, newline at the end."""
    by_item: dict[str, list[Answer | None]] = {}
    for answer in answers:
        by_item.setdefault(answer.item, []).append(answer)
    lines = [_line(item, answer) for item in items for answer in by_item.get(item.id, [None])]
    return "".join(json.dumps(line) + "\n" for line in lines)


def _line(item: Item, answer: Answer | None) -> dict[str, str | None]:
    shown = {"question": item.question, "prompt": item.prompt, "first": item.first, "second": item.second}
    said = {name: getattr(answer, name, None) for name in ("verdict", "annotator", "started", "submitted")}
    return {"schema": SCHEMA, "item": item.id, "sha256": item.digest, **shown, **said}


def from_jsonl(text: str) -> Iterator[Label]:
    """The answers in JSON lines as `to_jsonl` writes them; a null verdict is none. Raises SpecError with the line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"line {number}"
            expect(len(line) <= MAX_LINE_BYTES, place, f"at most {MAX_LINE_BYTES} characters")
            table = _object(line, place)
            expect(table.keys() == set(_FIELDS), place, f"the fields {', '.join(_FIELDS)}")
            expect(table["schema"] == SCHEMA, place, f"schema {SCHEMA!r}")
            if table["verdict"] is not None:
                shown = tuple(table[name] for name in ("question", "prompt", "first", "second"))
                yield Label(place, table["item"], table["sha256"], shown,
                            *(table[name] for name in ("verdict", "annotator", "started", "submitted")))  # fmt: skip


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        table = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{place} is not JSON: {error}") from None
    expect(isinstance(table, dict), place, "an object")
    return dict(table)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


WRITERS: Mapping[str, Callable[[Sequence[Item], Sequence[Answer]], str]] = {
    "jsonl": to_jsonl,
    "label-studio": label_studio.to_tasks,
    "argilla": argilla.to_records,
}
READERS: Mapping[str, Callable[[str], Iterator[Label]]] = {
    "jsonl": from_jsonl,
    "label-studio": label_studio.from_tasks,
    "argilla": argilla.from_records,
}


def accept(queue: Queue, labels: Iterator[Label], annotator: str | None) -> Taken:
    """Write the answers down, if every one can be taken. `annotator` is whose they are where the file does not say.

    Raises SpecError with the place of the first that cannot: its item is unknown, its texts are not the queue's, a
    field is not what it must be, or its annotator has answered the item otherwise.
    """
    state, now = queue.refresh(), utc(queue.now())
    new: dict[tuple[str, str], Answer] = {}
    num_known = 0
    for label in labels:
        answer = _answer(label, state.items.get(str(label.item)), annotator, now)
        key = (answer.item, answer.annotator)
        before = new.get(key) or state.of(*key)
        if before is None:
            new[key] = answer
            continue
        expect(before.verdict == answer.verdict, label.place, f"{answer.annotator!r} has answered this item with "
               f"{before.verdict}, not {answer.verdict}; one answer of an annotator to an item")  # fmt: skip
        num_known += 1
    queue.write(list(new.values()))
    return Taken(len(new), num_known)


def _answer(label: Label, item: Item | None, annotator: str | None, now: str) -> Answer:
    """The answer that a label is, once everything about it has been checked."""
    place = label.place
    if item is None:
        raise SpecError(f"{place}: no item {str(label.item)[:80]!r} in the queue; was the file made from another one?")
    shown = (item.question, item.prompt, item.first, item.second)
    same = label.sha256 == item.digest and label.shown == shown
    expect(same, place, "the texts that the queue has for this item: these are others, or were changed")
    expect(label.verdict in tuple(VERDICTS), place, f"a verdict of {', '.join(VERDICTS)}, not {label.verdict!r}")
    who = annotator if label.annotator is None else label.annotator
    expect(who is not None, place, "who answered; give --annotator")
    expect(isinstance(who, str) and NAME.fullmatch(who), place,
           f"an annotator of 1 to 64 letters, digits, '-' and '_', not {str(who)[:80]!r}")  # fmt: skip
    for time in (label.started, label.submitted):
        expect(time is None or (isinstance(time, str) and is_time(time)), place,
               f"a UTC time such as {now}, or null, not {str(time)[:80]!r}")  # fmt: skip
    started, submitted = label.started, label.submitted or now
    assert isinstance(label.verdict, str)
    return Answer(item.id, label.verdict, str(who), started, submitted, UI_VERSION, 0)
