"""Experiment trackers told of a sweep's cells, by its own process and from what stands in their run directories.

So it is the same with every executor, and no worker needs a tracker, or waits for one.
"""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from apl_bench.sweep.cells import Cell
from apl_bench.sweep.schedule import Listener, State
from apl_bench.tracking.following import log_recorded
from apl_bench.tracking.targets import Target
from apl_bench.types import SpecError


class Tracked:
    """A listener in front of another one, by which trackers hear of each cell once this sweep does nothing more about
    it, when the workers have been given their next cells."""

    def __init__(self, listener: Listener, trackers: Trackers) -> None:
        self._listener, self._trackers = listener, trackers

    def began(self, state: State) -> None:
        """A cell was given to a slot."""
        self._listener.began(state)

    def ended(self, state: State) -> None:
        """An attempt at a cell ended."""
        self._listener.ended(state)
        if state.ended:
            self._trackers.add(state.cell)

    def note(self, state: State, line: str) -> None:
        """A line from a cell at work."""
        self._listener.note(state, line)

    def tick(self) -> None:
        """Time went by."""
        self._listener.tick()
        self._trackers.catch_up()


class Trackers:
    """Those of a sweep below `out`. One that fails is left alone for the rest of the sweep."""

    def __init__(self, targets: Iterable[Target], out: Path, tell: Callable[[str], None]) -> None:
        self._targets = list(targets)
        self._out = out
        self._tell = tell
        self._untold: deque[Cell] = deque()

    def add(self, cell: Cell) -> None:
        """A cell that trackers are to be told of."""
        self._untold.append(cell)

    def catch_up(self) -> None:
        """Tell of the cells that have ended, as far as they went; what is there already is not told again."""
        while self._untold and self._targets:
            run = self._untold.popleft().run
            if not (run.path / run.manifest_name).exists():
                continue  # it was refused before it began
            for target in list(self._targets):
                try:
                    failed = log_recorded(run, target, self._tell).failed
                except (SpecError, OSError) as error:  # of the run's own files
                    self._tell(f"{run.path} is not told to {target}: {error}")
                    continue
                if failed:
                    self._leave(target)

    def _leave(self, target: Target) -> None:
        self._targets.remove(target)
        later = shlex.join(["apl-bench", "track", str(self._out), "--to", str(target)])
        self._tell(f"{target} is told nothing more of this sweep; afterwards: {later}")
