"""The benchmark of a sweep's overhead, on cells that take no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from apl_bench.benchmarks.suites import load
from apl_bench.benchmarks.sweep import Timed, measure, of_cells, own_seconds
from apl_bench.sweep.schedule import State
from apl_bench.sweep.worker import End, Outcome
from tests.sweep.tiny import cell


def test_a_sweep_is_measured_against_its_cells(tmp_path: Path) -> None:
    cells = [cell(tmp_path, "random", seed) for seed in (0, 1, 2)]
    facts = of_cells(cells, tmp_path)
    took, own, most = (float(row[1]) for row in facts.rows)
    assert own == pytest.approx(sum(map(own_seconds, cells)) / 2, abs=0.06)
    assert own - 0.1 <= most < took, "no worker's cells can take longer than the sweep"
    assert load("sweep") is measure


def test_a_cell_that_fails_is_no_measurement(tmp_path: Path) -> None:
    state = State(cell(tmp_path, "random", 0), slot=0)
    timed = Timed()
    timed.began(state)
    state.last = Outcome(End.FAILED, "no model")
    with pytest.raises(AssertionError, match="no model"):
        timed.ended(state)
