"""The benchmark of a sweep's overhead, on cells that take no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from apl_bench.benchmarks.suites import load
from apl_bench.benchmarks.sweep import Timed, measure, of_cells, own_seconds
from apl_bench.sweep.cells import Cell
from apl_bench.sweep.executor import Report
from apl_bench.sweep.purse import Share
from apl_bench.sweep.schedule import State
from apl_bench.sweep.worker import End, Outcome, Worker
from tests.sweep.tiny import cell, orders


def test_a_sweep_is_measured_against_its_cells(tmp_path: Path) -> None:
    cells = [cell(tmp_path, "random", seed) for seed in (0, 1)]
    facts = of_cells(cells, Here(Worker(orders(tmp_path / "ledger"))))
    took, own, most = (float(row[1]) for row in facts.rows)
    assert own == pytest.approx(sum(map(own_seconds, cells)), abs=0.06)
    assert own == most <= took, "no worker's cells can take longer than the sweep"
    assert load("sweep") is measure


class Here:
    """One slot, in this process."""

    num_slots = 1

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._waiting: list[Cell] = []

    def free(self) -> list[int]:
        return [] if self._waiting else [0]

    def submit(self, slot: int, cell: Cell, share: Share) -> None:
        self._waiting.append(cell)

    def poll(self, timeout_s: float) -> list[Report]:
        return [Report(0, self._worker.work(self._waiting.pop(), Share(), print))]

    def close(self) -> None:
        pass


def test_a_cell_that_fails_is_no_measurement(tmp_path: Path) -> None:
    state = State(cell(tmp_path, "random", 0), slot=0)
    timed = Timed()
    timed.began(state)
    state.last = Outcome(End.FAILED, "no model")
    with pytest.raises(AssertionError, match="no model"):
        timed.ended(state)
