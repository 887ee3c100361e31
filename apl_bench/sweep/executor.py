"""What works cells off, in slots: one cell at a time in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from apl_bench.sweep.cells import Cell
from apl_bench.sweep.purse import Share
from apl_bench.sweep.worker import Outcome


@dataclass(frozen=True, slots=True)
class Note:
    """A line about what happens, such as that a batch was sent."""

    line: str


@dataclass(frozen=True, slots=True)
class Report:
    """What came from a slot; an Outcome means that the slot is free again."""

    slot: int
    said: Note | Outcome


class Executor(Protocol):
    """Executors share nothing with one another but the run directories, so that one goes on where another stopped."""

    @property
    def num_slots(self) -> int:
        """Cells at a time, those slots included that are still to come."""

    def free(self) -> list[int]:
        """Slots that a cell can be given to now."""

    def submit(self, slot: int, cell: Cell, share: Share) -> None:
        """Give a free slot a cell, and the most that may be spent on it."""

    def poll(self, timeout_s: float) -> list[Report]:
        """What came from busy slots, at most after so long; a slot whose process is gone gives End.DIED."""

    def close(self) -> None:
        """Stop what is at work; cells stay as they are."""
