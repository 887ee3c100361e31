"""The queue between a run and the people who answer it: a folder that any number of processes use at once.

A run adds items and takes answers; a page or a terminal offers items and writes answers down; none waits for another.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from apl_bench.annotation.items import Answer, Item, State
from apl_bench.annotation.store import ANSWERS, NAME, LineError, Tail, append, apply_line, locked
from apl_bench.cache import cache_folder
from apl_bench.randomness import unit_interval
from apl_bench.types import SpecError

LEASE_S = 600.0  # an item that somebody looks at is nobody else's for so long
CHECK_GAP = 10  # answers between an item and its hidden repeat or swap, where there are so many
ORDER_SALT = "human-order/1"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an annotator is: `num_left` items are still to be shown to them, as it stands."""

    num_answered: int
    num_left: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What to do next: an item; or None, while `num_elsewhere` items are before other annotators."""

    item: Item | None
    num_elsewhere: int
    progress: Progress


def queues_folder() -> Path:
    """Where all queues are: `human` in $APL_BENCH_CACHE_DIR or ~/.cache/apl-bench."""
    return cache_folder() / "human"


def checked_name(name: object, what: str) -> str:
    """The name, if it can be part of a file name anywhere. Raises SpecError."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SpecError(f"{what} is {name!r}; expected 1 to 64 letters, digits, '-' and '_'")
    return name


def utc(seconds: float) -> str:
    """A time since the epoch as ISO 8601, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Queue:
    """One queue. Every method sees what others have written before it returns; OSError where the disk fails."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        """Use the queue in a folder, which is made where it does not exist."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.now = now
        self.state = State()
        self.notices: list[str] = []
        self._tails: dict[str, Tail] = {}
        self._leases: dict[str, tuple[str, float]] = {}  # annotator: (item, until)

    @classmethod
    def named(cls, name: str) -> Queue:
        """The queue of this name, made where it does not exist. Raises SpecError for what is no name."""
        return cls(queues_folder() / checked_name(name, "the queue"))

    @classmethod
    def existing(cls, name: str) -> Queue:
        """The queue of this name. Raises SpecError where a run has made none, with those there are."""
        folder = queues_folder() / checked_name(name, "the queue")
        if not (folder / "items.jsonl").exists():
            there = ", ".join(sorted(path.parent.name for path in queues_folder().glob("*/items.jsonl"))) or "none"
            raise SpecError(f"no queue called {name!r} in {queues_folder()}; there are: {there}. A run makes one: "
                            f"apl-bench run --oracle 'human:{name}(template=...)'")  # fmt: skip
        return cls(folder)

    def refresh(self) -> State:
        """The state as all files have it now."""
        with self._fresh():
            return self.state

    def enqueue(self, items: Sequence[Item]) -> int:
        """Add the items that are not there yet; returns how many were new."""
        with self._fresh():
            new = list({item.id: item for item in items if item.id not in self.state.items}.values())
            if new:
                append(self.folder / "items.jsonl", [{"event": "item", **asdict(item)} for item in new])
            self._read()
            return len(new)

    def take(self, ids: Sequence[str]) -> dict[str, list[Answer]]:
        """The answers that make the label of each item that has one; from now on nobody can take these back."""
        with self._fresh():
            found = {name: self.state.deciding(self.state.items[name]) for name in ids}
            decided = {name: answers for name, answers in found.items() if answers}
            new = [name for name in decided if name not in self.state.taken]
            if new:
                append(self.folder / "items.jsonl", [{"event": "taken", "item": name} for name in new])
            self._read()
            return decided

    def offer(self, annotator: str, second_opinions: bool = False) -> Offer:
        """What to show this annotator next, leased to them; with `second_opinions` also what others have decided."""
        with self._fresh():
            held = self._leases.get(annotator, ("", 0.0))[0]
            available, elsewhere = self._available(annotator, second_opinions)
            item = next((one for one in available if one.id == held), None) or self._first(annotator, available)
            if item:
                self._leases[annotator] = (item.id, self.now() + LEASE_S)
            else:
                self._leases.pop(annotator, None)
            self._write_leases()
            return Offer(item, elsewhere, self._progress(annotator, available))

    def is_done(self, annotator: str, second_opinions: bool = False) -> bool:
        """True when nothing is left for this annotator, and nothing before others; leases nothing."""
        with self._fresh():
            return self._available(annotator, second_opinions) == ([], 0)

    def submit(self, item: str, verdict: str, annotator: str, started: str | None, ui_version: str) -> Answer | None:
        """Write an answer down; None if this annotator has answered the item already: the first one stands.

        Raises SpecError for an item that is not in the queue.
        """
        with self._fresh():
            if item not in self.state.items:
                raise SpecError(f"no item {item!r} in the queue {self.folder.name}; reload the page")
            if self.state.of(item, annotator):
                return None
            sequence = self.state.last_sequence + 1
            answer = Answer(item, verdict, annotator, started, utc(self.now()), ui_version, sequence)
            self._write([answer])
            return answer

    def write(self, answers: Sequence[Answer]) -> None:
        """Write down answers that were given elsewhere, numbered anew in their order; the caller has checked them."""
        with self._fresh():
            first = self.state.last_sequence + 1
            fields = [{**asdict(answer), "sequence": first + place} for place, answer in enumerate(answers)]
            self._write([Answer(**one) for one in fields])

    def undo(self, annotator: str) -> Answer | None:
        """Take back this annotator's last answer and offer its item again; None if there is none.

        Raises SpecError if a run has taken that answer as a label.
        """
        with self._fresh():
            own = self.state.by(annotator)
            if not own:
                return None
            last = own[-1]
            if last.item in self.state.taken and last in self.state.deciding(self.state.items[last.item]):
                raise SpecError("the last answer cannot be taken back: a run has used it as a label")
            event = {"event": "retract", "item": last.item, "annotator": annotator,
                     "sequence": self.state.last_sequence + 1, "at": utc(self.now())}  # fmt: skip
            append(self._answers_path(annotator), [event])
            self._read()
            self._leases[annotator] = (last.item, self.now() + LEASE_S)
            self._write_leases()
            return last

    def release(self, annotator: str) -> None:
        """Let others have what this annotator was looking at."""
        with self._fresh():
            if self._leases.pop(annotator, None):
                self._write_leases()

    def _available(self, annotator: str, second_opinions: bool) -> tuple[list[Item], int]:
        """What may be shown to this annotator, and how many undecided items are before others only."""
        available, elsewhere = [], 0
        held = self._held_by_others(annotator)
        for item in self.state.labels():
            if self.state.of(item.id, annotator):
                checks = self.state.checks.get(item.id, [])
                available += [check for check in checks if not self.state.of(check.id, annotator)]
            elif self.state.deciding(item):
                available += [item] if second_opinions else []
            elif len(self.state.answers[item.id]) + held.get(item.id, 0) < item.votes:
                available.append(item)
            else:
                elsewhere += 1
        return available, elsewhere

    def _held_by_others(self, annotator: str) -> dict[str, int]:
        """How many others look at an item and have not answered it."""
        counts: dict[str, int] = {}
        for other, (item, until) in self._leases.items():
            if other != annotator and until > self.now() and not self.state.of(item, other):
                counts[item] = counts.get(item, 0) + 1
        return counts

    def _first(self, annotator: str, available: Sequence[Item]) -> Item | None:
        """The first in this annotator's own shuffled order: undecided items and checks that are due, then the rest."""
        places = {answer.item: place for place, answer in enumerate(self.state.by(annotator))}

        def rank(item: Item) -> tuple[int, float]:
            if item.kind != "label":
                since = len(places) - places[item.original] - 1
                return (0, self._order(annotator, item)) if since >= CHECK_GAP else (2, -since)
            return (1 if self.state.deciding(item) else 0), self._order(annotator, item)

        return min(available, key=rank, default=None)

    def _order(self, annotator: str, item: Item) -> float:
        return unit_interval(ORDER_SALT, annotator, item.id)

    def _progress(self, annotator: str, available: Sequence[Item]) -> Progress:
        """Checks of an item count before it is answered: a total that grew afterwards would tell of them."""
        to_come = [len(self.state.checks.get(item.id, [])) for item in available if item.kind == "label"]
        return Progress(len(self.state.by(annotator)), len(available) + sum(to_come))

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        with locked(self.folder):
            self._read()
            self._leases = self._read_leases()
            yield

    def _read(self) -> None:
        """Items first: an answer is to an item that is known."""
        names = [path.name for path in sorted(self.folder.glob("answers-*.jsonl")) if ANSWERS.fullmatch(path.name)]
        there = ["items.jsonl"] if (self.folder / "items.jsonl").exists() else []
        for name in [*there, *names]:
            owner = ANSWERS.fullmatch(name)
            tail = self._tails.setdefault(name, Tail(self.folder / name))
            for number, line in tail.new_lines():
                try:
                    apply_line(self.state, line, owner[1] if owner else None)
                except LineError as error:
                    self.notices.append(f"{name} line {number} is left out: {error}")

    def _write(self, answers: Sequence[Answer]) -> None:
        by_annotator: dict[str, list[Mapping[str, object]]] = {}
        for answer in answers:
            by_annotator.setdefault(answer.annotator, []).append({"event": "answer", **asdict(answer)})
        for annotator, events in by_annotator.items():
            append(self._answers_path(annotator), events)
        self._read()

    def _answers_path(self, annotator: str) -> Path:
        return self.folder / f"answers-{checked_name(annotator, 'the annotator')}.jsonl"

    def _read_leases(self) -> dict[str, tuple[str, float]]:
        """Leases are a courtesy: a file that cannot be read holds none."""
        try:
            table = json.loads((self.folder / "leases.json").read_bytes())
            return {str(name): (str(item), float(until)) for name, (item, until) in table.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _write_leases(self) -> None:
        living = {name: lease for name, lease in self._leases.items() if lease[1] > self.now()}
        draft = self.folder / "leases.json.new"
        draft.write_text(json.dumps(living))
        draft.replace(self.folder / "leases.json")
