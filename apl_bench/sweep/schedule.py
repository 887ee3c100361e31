"""Which cell comes next, and what is done about cells that did not end well."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from apl_bench.asking.budget import Caps
from apl_bench.sweep.cells import Cell
from apl_bench.sweep.executor import Executor, Note
from apl_bench.sweep.purse import Purse, exceeds
from apl_bench.sweep.worker import End, Outcome, is_complete
from apl_bench.types import SpecError

POLL_S = 0.5
AGAIN_S = 5.0  # before a cell is tried again that somebody else has


@dataclass(slots=True)
class State:
    """A cell of the sweep: `slot` while it is at work, `last` outcome, how often its process died. `ended` means that
    this sweep does nothing more about it; `was_complete`, that it never did. `rest` is what it could not go on with of
    its last share."""

    cell: Cell
    slot: int | None = None
    last: Outcome | None = None
    num_deaths: int = 0
    ended: bool = False
    was_complete: bool = False
    not_before: float = 0.0
    began: float = 0.0
    rest: Caps = field(default_factory=Caps)

    @property
    def end(self) -> End | None:
        """How it ended or stands, None before anything was tried."""
        return self.last.end if self.last else None


class Listener(Protocol):
    """Whoever shows what happens."""

    def began(self, state: State) -> None: ...

    def ended(self, state: State) -> None: ...

    def note(self, state: State, line: str) -> None: ...

    def tick(self) -> None: ...


@dataclass
class Sweep:
    """The cells, worked off by an executor; `num_retries` is how often a cell is tried again whose process died."""

    states: Sequence[State]
    executor: Executor
    purse: Purse
    listener: Listener
    num_retries: int = 3
    _materials: dict[int, str] = field(default_factory=dict)  # by slot: what it loaded last

    def run(self) -> None:
        """Go on until nothing is left that this sweep could do; what others work on is waited for."""
        while True:
            for slot in self.executor.free():
                state = self._next(slot)
                if state:
                    self._begin(slot, state)
            self._give_up()
            if all(state.ended for state in self.states):
                return
            self.listener.tick()
            self._hear()

    def _next(self, slot: int) -> State | None:
        """Of the cells that can begin now: one for what the slot has loaded, then one of a seed that fewest others are
        at (what a seed's cells share is made by the first of them), then in their order."""
        now, at_work = time.monotonic(), Counter(_seed(state.cell) for state in self.states if state.slot is not None)
        ready = [s for s in self.states if self._is_waiting(s) and s.not_before <= now and self._has_money_for(s)]
        loaded = self._materials.get(slot)
        return min(ready, key=lambda s: (s.cell.materials != loaded, at_work[_seed(s.cell)]), default=None)

    def _begin(self, slot: int, state: State) -> None:
        state.slot, state.began = slot, time.monotonic()
        self._materials[slot] = state.cell.materials
        self.listener.began(state)
        self.executor.submit(slot, state.cell, self.purse.take(slot, self._parts(state)))

    def _parts(self, state: State) -> int:
        """By what the money that is free is divided for a cell that begins: the cells that may begin beside it, also in
        slots that are still to come. One that has reached its share before gets all of it: rather one cell complete
        than several further on."""
        if state.end is End.CAPPED:
            return 1
        num_waiting = sum(map(self._is_waiting, self.states))
        num_at_work = sum(each.slot is not None for each in self.states)  # this one included
        return max(1, min(self.executor.num_slots - num_at_work, num_waiting) + 1)

    def _is_waiting(self, state: State) -> bool:
        return not state.ended and state.slot is None

    def _has_money_for(self, state: State) -> bool:
        """Whether to begin is worth the loading: with more than the cell has failed to go on with, and while others
        may give something back, with anything at all."""
        if state.end is End.CAPPED:
            return exceeds(self.purse.free, state.rest)
        return not self.purse.is_out

    def _give_up(self) -> None:
        """End the cells for which there was too little, whatever others give back."""
        for state in self.states:
            too_little = state.end is End.CAPPED and not exceeds(self.purse.most, state.rest)
            if too_little and self._is_waiting(state):
                state.ended = True
                self.listener.ended(state)

    def _hear(self) -> None:
        at_work = {state.slot: state for state in self.states if state.slot is not None}
        for report in self.executor.poll(POLL_S) if at_work else _sleep():
            state = at_work[report.slot]
            if isinstance(report.said, Note):
                self.listener.note(state, report.said.line)
            else:
                self._end(state, report.said)

    def _end(self, state: State, outcome: Outcome) -> None:
        assert state.slot is not None
        state.rest = self.purse.give_back(state.slot, None if outcome.end is End.DIED else outcome.spent)
        state.num_deaths += outcome.end is End.DIED
        state.slot, state.last = None, outcome
        if self._is_to_be_tried_again(state):
            state.not_before = time.monotonic() + (AGAIN_S if outcome.end is End.HELD else 0.0)
        else:
            state.ended = True
        self.listener.ended(state)

    def _is_to_be_tried_again(self, state: State) -> bool:
        return (
            state.end is End.HELD
            or (state.end is End.DIED and state.num_deaths <= self.num_retries)
            or (state.end is End.CAPPED and exceeds(self.purse.most, state.rest))
        )


def begin(cells: Sequence[Cell]) -> list[State]:
    """The cells as they stand: complete ones have ended, those with a result of other plugins have failed."""
    return [_standing(cell) for cell in cells]


def _standing(cell: Cell) -> State:
    try:
        complete = is_complete(cell)
    except SpecError as error:
        return State(cell, last=Outcome(End.FAILED, str(error)), ended=True)
    return State(cell, last=Outcome(End.DONE) if complete else None, ended=complete, was_complete=complete)


def _seed(cell: Cell) -> tuple[str, int]:
    return cell.materials, cell.spec.seed


def _sleep() -> list[Any]:
    time.sleep(POLL_S)
    return []
