"""What a worker does, wherever it runs: claims a cell, runs it, and says what came of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from apl_bench.asking.budget import CapReachedError, Caps, Spent
from apl_bench.experiment import Materials, Means, plugins, prepare
from apl_bench.failures import AwaitingLabels, OracleError
from apl_bench.judging import MissingJudgment
from apl_bench.judgments.keys import RequestError
from apl_bench.judgments.record import RecordError
from apl_bench.protocols import Engine
from apl_bench.records import Busy, RunWriter
from apl_bench.sweep.cells import Cell, run_cell
from apl_bench.sweep.claims import Claim, HeldError, LostError, claim
from apl_bench.sweep.purse import Share
from apl_bench.sweep.sharing import SharingEngine
from apl_bench.sweep.store import Store
from apl_bench.types import SpecError

OpenMeans = Callable[[Caps, Callable[[str], None]], AbstractContextManager[Means]]
Tell = Callable[[str], None]
SHARED_BYTES = 4 << 30

# Whose text is a sentence for the user; anything else is told with its traceback.
_EXPLAINED = (SpecError, OSError, OracleError, FloatingPointError, RecordError, RequestError, MissingJudgment)


class End(Enum):
    """What came of an attempt at a cell."""

    DONE = "done"
    HELD = "held"  # somebody else has it
    AWAITING = "awaiting labels"
    CAPPED = "cap reached"
    FAILED = "failed"
    DIED = "died"  # its process is gone


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one attempt: a sentence where it did not end well, what was spent on calls, and what else is to be told.
    `seconds` are of the wall clock, loading included."""

    end: End
    sentence: str = ""
    seconds: float = 0.0
    spent: Spent = field(default_factory=Spent)
    notices: tuple[str, ...] = ()
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Orders:
    """What all cells of a sweep go by: how to open the means of asking in whatever process, and where what theta_0
    determines is shared (None: nowhere), in how many bytes. Plain values, so that they can be sent."""

    open_means: OpenMeans
    shared: Path | None = None
    shared_bytes: int = SHARED_BYTES


class Worker:
    """Runs cells one after another; keeps the policy and the prompts for as long as the next cell needs the same."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._materials: tuple[str, Materials] | None = None
        self._store = Store(orders.shared, orders.shared_bytes) if orders.shared else None

    def work(self, cell: Cell, share: Share, tell: Tell) -> Outcome:
        """One attempt at a cell; never raises but for what ends the process."""
        began = time.monotonic()
        spent, notices = Spent(), []
        try:
            with self._orders.open_means(share.caps, tell) as means:
                if share.slip:
                    means.asking.meter.note = share.slip.write
                try:
                    end, sentence, trace = self._attempt(cell, means)
                finally:
                    spent = means.asking.meter.spent.plus(means.asking.meter.reserved)
                    notices = [f"ledger: {notice}" for notice in means.ledger.notices] + self._thrown_away()
        except Exception as error:  # the edge of the process: what is wrong with one cell does not stop the others
            end, sentence, trace = _failure(error)
        return Outcome(end, sentence, time.monotonic() - began, spent, tuple(notices), trace)

    def _attempt(self, cell: Cell, means: Means) -> tuple[End, str, str]:
        try:
            held = claim(cell.path)
        except HeldError as error:
            return End.HELD, str(error), ""
        try:
            if not is_complete(cell):
                self._run(cell, means, held)
        except BaseException:
            held.release()
            raise
        held.finish()
        return End.DONE, "", ""

    def _run(self, cell: Cell, means: Means, held: Claim) -> None:
        def listen(_event: dict[str, Any]) -> None:
            held.require()

        materials = self._prepared(cell)
        materials.engine.forget()
        run_cell(cell.spec, cell.path, materials, means, listen)

    def _prepared(self, cell: Cell) -> Materials:
        if self._materials is not None and self._materials[0] == cell.materials:
            self._materials[1].clock.lap()  # what went by since the last cell is nobody's time
        else:
            self._materials = None  # before the next ones are loaded
            store = self._store

            def share(engine: Engine) -> Engine:
                return engine if store is None else SharingEngine(engine, store, cell.spec)

            self._materials = cell.materials, prepare(cell.spec, share)
        return self._materials[1]

    def _thrown_away(self) -> list[str]:
        """What the store had to say since the last cell."""
        if self._store is None:
            return []
        notices, self._store.notices = self._store.notices, []
        return notices


def is_complete(cell: Cell) -> bool:
    """Whether nothing is left to do. Raises SpecError for a result that was made by other plugins than today's."""
    run = cell.run
    if not run.complete:
        return False
    run.refuse_other(plugins(cell.spec))
    RunWriter(run.path).drop_weights()
    return True


def _failure(error: Exception) -> tuple[End, str, str]:
    if isinstance(error, (HeldError, LostError, Busy)):
        return End.HELD, str(error), ""
    if isinstance(error, AwaitingLabels):
        return End.AWAITING, str(error), ""
    if isinstance(error, CapReachedError):
        return End.CAPPED, str(error), ""
    if isinstance(error, _EXPLAINED):
        return End.FAILED, str(error), ""
    return End.FAILED, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
