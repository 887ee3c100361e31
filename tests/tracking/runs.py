"""Recorded runs to track, whole and stopped, and a tracker that remembers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from apl_bench.records import Run
from apl_bench.tracking.rows import Place, Row, Rows
from apl_bench.tracking.targets import Target
from apl_bench.tracking.tracker import Subject, Tracker
from tests.test_replay import GOLDEN


def stopped(folder: Path, num_events: int) -> Run:
    """The golden run as a kill left it after so many events."""
    path = Path(shutil.copytree(GOLDEN, folder))
    lines = (path / "events.jsonl").read_text().splitlines(keepends=True)
    (path / "events.jsonl").write_text("".join(lines[:num_events]))
    (path / "result.json").unlink()
    return Run(path)


def all_values(run: Run) -> dict[Place, float]:
    """What a tracker has to hold of a run."""
    rows = Rows()
    told = [row for row in map(rows.of, run.events()) if row]
    return {(name, row.x): value for row in told for name, value in row.values.items()}


@dataclass
class Remembering:
    """A tracker in memory; `fail` is called before each row, and may raise."""

    values: dict[Place, float] = field(default_factory=dict)
    subject: Subject | None = None
    ends: list[bool] = field(default_factory=list)
    fail: Callable[[], None] = lambda: None

    def begin(self, run: Subject) -> set[Place]:
        self.subject = run
        return set(self.values)

    def log(self, row: Row) -> None:
        self.fail()
        assert not row.places & set(self.values), "told twice"
        self.values |= {(name, row.x): value for name, value in row.values.items()}

    def end(self, complete: bool) -> None:
        self.ends.append(complete)


TRACKERS: dict[str, Tracker] = {}


class To(Target):
    """A target that is a tracker of TRACKERS."""

    def tracker(self) -> Tracker:
        return TRACKERS[str(self.argument)]


def to(tracker: Tracker) -> To:
    name = str(len(TRACKERS))
    TRACKERS[name] = tracker
    return To("fake", name)
