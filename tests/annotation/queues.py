"""Queues with something in them, and a clock that tests set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from apl_bench.annotation.items import Item, item_id
from apl_bench.annotation.queue import Queue
from apl_bench.oracles.human import Human
from apl_bench.types import Comparison, Completion, Pair, Prompt

TEMPLATE = "people-general-v1"


class SetClock:
    """Seconds since the epoch, as a test says; 0.5 s go by with every look."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        self.seconds += 0.5
        return self.seconds


def item(number: int, first: str | None = None, second: str | None = None, votes: int = 1) -> Item:
    texts = (f"prompt {number}", first or f"first {number}", second or f"second {number}")
    name = item_id("label", {"texts": texts, "number": number})
    return Item(name, "label", name, "Which is better?", *texts, votes=votes)


def check_of(original: Item, kind: str) -> Item:
    first, second = (original.second, original.first) if kind == "swap" else (original.first, original.second)
    name = item_id(kind, {"original": original.id})
    return Item(name, kind, original.id, original.question, original.prompt, first, second, votes=1)


def queue_of(folder: Path, items: Sequence[Item]) -> Queue:
    queue = Queue(folder / "queue", now=SetClock())
    queue.enqueue(items)
    return queue


def reopened(queue: Queue) -> Queue:
    """The same queue, as another process sees it."""
    return Queue(queue.folder, now=queue.now)


def comparison(number: int, swapped: bool = False, repeat: int = 0) -> Comparison:
    texts = (Completion(f" first {number}", (1,), True), Completion(f" second {number}", (2,), True))
    return Comparison(Pair(Prompt(f"p{number}", f"Prompt {number}"), *texts), swapped, repeat)


def human(**params: object) -> Human:
    given = {"queue": "films", "template": TEMPLATE, "repeats": 0.0, "swaps": 0.0, **params}
    return Human(**given)  # type: ignore[arg-type]
