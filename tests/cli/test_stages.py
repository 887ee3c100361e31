"""The table of stages, by hand from a few events."""

from __future__ import annotations

from typing import Any

import pytest

from apl_bench.cli.stages import stage_lines
from apl_bench.report.spending import Spending

MACHINE = {"device": "cpu", "num_threads": 2, "dtype": "float32", "peak_gflop_per_s": 100.0}
EVENTS: list[dict[str, Any]] = [
    {"event": "begin", "machine": MACHINE, "seconds": {"load": 4.0}, "tokens": {}, "gflop": {}, "peak_memory_mb": 5.0},
    {"event": "acquired", "seconds": {"sample": 2.0, "oracle": 1.0}, "tokens": {"sample": 600},
     "gflop": {"sample": 30.0}, "peak_memory_mb": 700.5},
    {"event": "trained", "seconds": {"train": 8.0}, "tokens": {"train": 1000}, "gflop": {"train": 400.0},
     "peak_memory_mb": 800.4},
    {"event": "waypoint", "seconds": {"sample": 1.0}, "tokens": {"sample": 300}, "gflop": {"sample": 15.0},
     "peak_memory_mb": 800.4},
]  # fmt: skip


def rows(events: list[dict[str, Any]]) -> list[list[str]]:
    return [line.split() for line in list(stage_lines(Spending.of(events)))[2:-1]]


def test_stages_by_hand() -> None:
    # sample: 900 tokens and 45 GFLOP in 3 s, which at 100 GFLOP/s could have been 300
    lines = list(stage_lines(Spending.of(EVENTS)))
    assert lines[0] == "Where the time went: 16.0 s"
    assert lines[1].split() == ["stage", "seconds", "share", "%", "tokens", "tokens/s", "GFLOP/s", "peak", "%"]
    assert rows(EVENTS) == [
        ["train", "8.0", "50.0", "1000", "125", "50.0", "50.0"],
        ["load", "4.0", "25.0", "-", "-", "-", "-"],
        ["sample", "3.0", "18.8", "900", "300", "15.0", "15.0"],
        ["oracle", "1.0", "6.2", "-", "-", "-", "-"],
        ["all", "16.0", "100.0", "1900", "119", "27.8", "27.8"],
    ]
    assert lines[-1] == "Peak memory 800 MB. Measured matmul peak 100 GFLOP/s (cpu, float32, threads: 2)."


def test_each_start_is_held_against_its_own_machine() -> None:
    gpu = {"device": "Big\x1b[31m GPU", "num_threads": 8, "dtype": "bfloat16", "peak_gflop_per_s": 1000.0}
    again = [
        {"event": "begin", "machine": gpu, "seconds": {"load": 1.0}, "tokens": {}, "gflop": {}, "peak_memory_mb": 1.0},
        {"event": "trained", "seconds": {"train": 2.0}, "tokens": {"train": 1000}, "gflop": {"train": 1700.0},
         "peak_memory_mb": 1.0, "peak_device_memory_mb": 2345.6},
    ]  # fmt: skip
    spending = Spending.of([*EVENTS, *again])
    # 400 of 8 x 100, and 1,700 of 2 x 1,000
    assert rows([*EVENTS, *again])[0] == ["train", "10.0", "52.6", "2000", "200", "210.0", "75.0"]
    lines = list(stage_lines(spending))
    assert lines[0] == "Where the time went: 19.0 s recorded in 2 starts"
    assert lines[-1] == (
        "Peak memory 800 MB, 2346 MB on the device. Measured matmul peak 100 to 1000 GFLOP/s "
        "(Big[31m GPU, bfloat16, threads: 8; cpu, float32, threads: 2)."
    )


def test_what_an_older_version_recorded_has_seconds_alone() -> None:
    older = [{"event": "begin", "seconds": {"other": 1.0}}, {"event": "trained", "seconds": {"train": 3.0}}]
    lines = list(stage_lines(Spending.of(older)))
    assert [line.split() for line in lines[2:-1]] == [
        ["train", "3.0", "75.0", "-", "-", "-", "-"],
        ["other", "1.0", "25.0", "-", "-", "-", "-"],
        ["all", "4.0", "100.0", "-", "-", "-", "-"],
    ]
    assert lines[-1] == "Peak memory 0 MB."
    # seconds in which nothing was counted do not lower the rate of those in which it was
    assert rows([*older, *EVENTS])[0] == ["train", "11.0", "55.0", "1000", "125", "50.0", "50.0"]


@pytest.mark.parametrize("events", [[], [{"event": "begin"}]])
def test_without_seconds_there_is_no_table(events: list[dict[str, Any]]) -> None:
    assert list(stage_lines(Spending.of(events))) == []
