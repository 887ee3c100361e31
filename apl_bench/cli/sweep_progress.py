"""What `apl-bench sweep` shows: a live table on a terminal, a line for each cell elsewhere."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from apl_bench.cli.console import number, safe, table
from apl_bench.sweep.standing import Stage, standing
from apl_bench.sweep.worker import End

if TYPE_CHECKING:
    from apl_bench.sweep.cells import Cell
    from apl_bench.sweep.schedule import State

MARKS = {End.DONE: "#", End.HELD: "o", End.AWAITING: "?", End.CAPPED: "$", End.FAILED: "!", End.DIED: "x"}
LEGEND = "# complete  > at work  . to do  o elsewhere  ? awaiting labels  $ cap reached  ! failed  x died"
LOOK_S = 2.0  # between looks at how far cells at work have come


@dataclass
class Rates:
    """Seconds of the cells that this sweep has finished, for what is left."""

    num_slots: int
    _seconds: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, cell: Cell, seconds: float) -> None:
        """A cell was worked off."""
        self._seconds[cell.table, cell.spec.strategy.name].append(seconds)

    @property
    def num_done(self) -> int:
        return sum(map(len, self._seconds.values()))

    def left_s(self, states: Sequence[State]) -> float | None:
        """Seconds to go, by the mean of like cells, or of all where there is none; None before the first."""
        everything = [value for values in self._seconds.values() for value in values]
        if not everything:
            return None
        total = 0.0
        for state in states:
            if not state.ended:
                like = self._seconds.get((state.cell.table, state.cell.spec.strategy.name), everything)
                spent = time.monotonic() - state.began if state.slot is not None else 0.0
                total += max(0.0, sum(like) / len(like) - spent)
        return total / self.num_slots


class Board:
    """Shows a sweep as it goes; a context manager."""

    def __init__(self, states: Sequence[State], num_slots: int, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._states = states
        self._rates = Rates(num_slots)
        self._began = self._looked = time.monotonic()
        self._said: dict[Path, str] = {}
        self._live: Live | None = None

    def __enter__(self) -> Board:
        if self._console.is_terminal:
            self._live = Live(self._picture(), console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def began(self, state: State) -> None:
        """A cell was given to a slot."""
        if not self._live and state.end is not End.HELD:
            self._say(f"begin {state.cell.name}")
        self._refresh()

    def ended(self, state: State) -> None:
        """An attempt at a cell ended."""
        assert state.last is not None
        if state.last.end is End.DONE:
            self._rates.add(state.cell, state.last.seconds)
        words = self._words(state)
        if self._said.get(state.cell.path) != words:  # what others hold is tried again every few seconds
            self._say(f"{self._count()} {state.last.end.value} {state.cell.name}: {words}{self._left()}")
        self._said[state.cell.path] = words
        for notice in state.last.notices:
            self._say(f"  {notice}")
        self._refresh()

    def note(self, state: State, line: str) -> None:
        """A line from a cell at work."""
        self._say(f"{state.cell.name}: {line}")

    def tick(self) -> None:
        """Time went by."""
        if self._live and time.monotonic() - self._looked >= LOOK_S:
            self._looked = time.monotonic()
            self._refresh()

    def _words(self, state: State) -> str:
        assert state.last is not None
        if state.last.end is not End.DONE:
            again = "" if state.ended else "; tried again"
            return f"{state.last.sentence}{again}"
        last = state.cell.run.result["waypoints"][-1]
        rate = f"win rate {number(last['win_rate'], 3)} at {last['num_labels']} labels"
        return f"{rate} ({duration(state.last.seconds)})"

    def _count(self) -> str:
        return f"[{sum(state.ended for state in self._states)}/{len(self._states)}]"

    def _left(self) -> str:
        left = self._rates.left_s(self._states)
        return "" if left is None or left == 0 else f"; {duration(left)} left"

    def _say(self, line: str) -> None:
        self._console.print(Text(safe(line)), soft_wrap=True)

    def _refresh(self) -> None:
        if self._live:
            self._live.update(self._picture(), refresh=True)

    def _picture(self) -> Group:
        spent = time.monotonic() - self._began
        rate = f", {3600 * self._rates.num_done / spent:.1f} cells an hour" if self._rates.num_done and spent else ""
        parts = [Text(line) for line in marks(self._states)]
        head = Text(f"{self._count()} cells, {duration(spent)}{rate}{self._left()}", style="bold")
        return Group(*parts, self._at_work(), head, Text(LEGEND, style="dim"))

    def _at_work(self) -> Table:
        rows = Table(box=None, pad_edge=False, show_header=False)
        for state in self._states:
            if state.slot is not None:
                stands = standing(state.cell)
                far = f"step {stands.num_steps} of {state.cell.spec.loop.num_steps}"
                took = duration(time.monotonic() - state.began)
                rows.add_row(f"worker {state.slot + 1}", Text(safe(state.cell.name)), far, took)
        return rows


def duration(seconds: float) -> str:
    """As people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def marks(states: Sequence[State]) -> Iterator[str]:
    """For each grid a line for each strategy with a mark for each seed."""
    grids: dict[str, dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
    for state in states:
        spec = state.cell.spec
        grids[state.cell.table][spec.strategy.name][spec.seed] = _mark(state)
    width = max(len(name) for lines in grids.values() for name in lines)
    for grid, lines in grids.items():
        yield f"{safe(grid)}"
        for name, by_seed in lines.items():
            yield f"  {safe(name):{width}}  {''.join(by_seed[seed] for seed in sorted(by_seed))}"


def _mark(state: State) -> str:
    if state.slot is not None:
        return ">"
    return MARKS[state.end] if state.end is not None else "."


def dry_run(cells: Sequence[Cell]) -> Iterator[str]:
    """How the grid stands, line by line: counts for each strategy, then who works on what."""
    stands = {cell.path: standing(cell) for cell in cells}
    rows: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        rows[cell.table, cell.spec.strategy.name].append(cell)
    columns = ("grid", "strategy", "seeds", "complete", "begun", "missing", "claimed")
    lines = []
    for (grid, strategy), group in rows.items():
        counts = [sum(stands[cell.path].stage is stage for cell in group) for stage in Stage]
        claimed = sum(stands[cell.path].owner is not None for cell in group)
        lines.append((grid, strategy, _seeds(group), *counts, claimed))
    yield from table(columns, lines).split("\n")
    yield ""
    for cell in cells:
        stand = stands[cell.path]
        if stand.stage is Stage.BEGUN or stand.owner:
            by = f", claimed by {safe(stand.owner)}" if stand.owner else ""
            yield f"{safe(cell.name)}: {stand.num_steps} of {cell.spec.loop.num_steps} steps{by}"


def _seeds(cells: Sequence[Cell]) -> str:
    from apl_bench.comparison import format_seeds

    return format_seeds([cell.spec.seed for cell in cells])
