"""Stages: every second, token and FLOP is charged once, to the innermost stage."""

from __future__ import annotations

import time

import pytest

from apl_bench.clock import Clock, Spent
from apl_bench.types import Work


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
    assert clock.lap() == {"other": Spent(1.0 + 16.0), "train": Spent(2.0 + 8.0), "score": Spent(4.0)}
    assert clock.lap() == {"other": Spent(0.0)}


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
    assert clock.lap() == {"oracle": Spent(2.0), "other": Spent(1.0)}


def test_work_is_charged_to_the_stage_that_it_was_done_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    done = [Work(1000, 5000)]  # before the clock watched: nobody's
    clock = Clock()
    clock.watch(lambda: done[0])

    def do(num_tokens: int) -> None:
        done[0] += Work(num_tokens, 10 * num_tokens)

    with clock.stage("train"):
        do(1)
        with clock.stage("sample"):
            do(2)
        with clock.stage("disk"):
            pass
        do(4)
    do(8)
    assert clock.lap() == {
        "train": Spent(0.0, Work(5, 50)), "sample": Spent(0.0, Work(2, 20)), "disk": Spent(),
        "other": Spent(0.0, Work(8, 80)),
    }  # fmt: skip
    with clock.stage("sample"):
        do(16)
    assert clock.lap()["sample"] == Spent(0.0, Work(16, 160))


def test_work_done_before_a_failure_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    done = [Work()]
    clock = Clock()
    clock.watch(lambda: done[0])

    def fail() -> None:
        with clock.stage("train"):
            done[0] += Work(3, 30)
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        fail()
    assert clock.lap() == {"train": Spent(0.0, Work(3, 30)), "other": Spent()}
