"""Runs told to trackers, live or afterwards. A tracker can fail; a run and its labels cannot be lost by that."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from apl_bench.records import Run
from apl_bench.tracking.rows import Place, Rows
from apl_bench.tracking.targets import Target
from apl_bench.tracking.tracker import Subject, Tracker

Tell = Callable[[str], None]


class Follower:
    """Feeds the events of one run to one tracker, which gets nothing that it has already.

    Whatever the tracker raises is told once, by `tell`, and the tracker is left alone from then on.
    """

    def __init__(self, run: Run, target: Target, tell: Tell) -> None:
        self._run = run
        self._target = target
        self._tell = tell
        self._rows = Rows()
        self._known: set[Place] = set()
        self._tracker: Tracker | None = None
        self._complete = False
        self.failed = False
        self.num_logged = 0

    def begin(self) -> None:
        """Begin or take up the run in the tracker, and log what is recorded so far."""
        with self._guarded():
            self._tracker = self._target.tracker()
            self._known = self._tracker.begin(Subject.of(self._run))
        for event in self._run.events():
            self.event(event)

    def event(self, event: Mapping[str, Any]) -> None:
        """Log what an event adds."""
        row = self._rows.of(event)
        self._complete |= event["event"] == "finished"
        new = row and row.without(self._known)
        if new and new.values and self._tracker is not None:
            with self._guarded():
                self._tracker.log(new)
                self.num_logged += len(new.values)

    def end(self) -> None:
        """No more events come for now."""
        if self._tracker is not None:
            with self._guarded():
                self._tracker.end(self._complete)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:  # a tracker may fail in any way, and loses nothing
            self._tracker, self.failed = None, True
            later = shlex.join(["apl-bench", "track", str(self._run.path), "--to", str(self._target)])
            why = f"{type(error).__name__}: {str(error).rstrip('.')}"
            self._tell(f"tracking to {self._target} has failed and is over: {why}. The run and its labels are not "
                       f"touched; log the rest with: {later}")  # fmt: skip


@contextmanager
def following(run: Run, targets: Sequence[Target], tell: Tell) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Tell several trackers of a run that begins or goes on; gives what is to be called with each new event."""
    followers = [Follower(run, target, tell) for target in targets]
    for follower in followers:
        follower.begin()

    def event(event: dict[str, Any]) -> None:
        for follower in followers:
            follower.event(event)

    try:
        yield event
    finally:
        for follower in followers:
            follower.end()


def log_recorded(run: Run, target: Target, tell: Tell) -> Follower:
    """Tell a tracker what is recorded of a run; the same again adds nothing. The follower says how it went."""
    follower = Follower(run, target, tell)
    follower.begin()
    follower.end()
    return follower
