"""Stages: every second is charged once, to the innermost stage."""

from __future__ import annotations

import time

import pytest

from apl_bench.clock import Clock


def test_inner_stages_are_not_charged_to_outer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock()
    now[0] = 1.0
    with clock.stage("train"):
        now[0] = 3.0
        with clock.stage("score"):
            now[0] = 7.0
        now[0] = 15.0
    now[0] = 31.0
    assert clock.lap() == {"other": 1.0 + 16.0, "train": 2.0 + 8.0, "score": 4.0}
    assert clock.lap() == {"other": 0.0}


def test_a_stage_that_fails_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock()

    def fail() -> None:
        with clock.stage("oracle"):
            now[0] = 2.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    now[0] = 3.0
    assert clock.lap() == {"oracle": 2.0, "other": 1.0}
