"""What a suite is given, and how contenders take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from apl_bench.benchmarks.results import Race
from apl_bench.benchmarks.shapes import Shape

NUM_OPERATORS = 15  # of a profile

Contenders: TypeAlias = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True, slots=True)
class Turn:
    """What a contender did in a turn: contenders that are compared do the same. The loss is the mean over updates."""

    num_tokens: int
    num_updates: int = 0
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The shape to measure on, how many turns of each contender count, and whether one of ours is profiled, too."""

    shape: Shape
    repeats: int
    profiled: bool = False

    def race(self, suite: str, title: str, contenders: Contenders) -> Race:
        """Let them take turns."""
        seconds = interleave(contenders, self.repeats)
        profile = self.profile(next(iter(contenders.values())))
        return Race(suite, self.shape.name, title, seconds, profile)

    def profile(self, work: Callable[[], Any]) -> str:
        """Where the time of one turn goes, by operator, where that is wanted; else nothing."""
        return top_operators(work) if self.profiled else ""


def interleave(contenders: Contenders, repeats: int) -> dict[str, list[float]]:
    """Seconds of each repeat of each contender, after one turn each that does not count.

    They take turns, so that a busy machine is busy for all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, work in contenders.items():
            taken = seconds_of(work)
            if turn > 0:
                seconds[name].append(taken)
    return seconds


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of one turn; a device's queue is empty before and after."""
    _finish()
    start = time.perf_counter()
    work()
    _finish()
    return time.perf_counter() - start


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def top_operators(work: Callable[[], Any]) -> str:
    """torch's operators that took most time of their own in one turn, in all threads."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    everywhere = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    with profile(activities=activities, experimental_config=everywhere) as profiler:
        work()
        _finish()
    key = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    averages: Any = profiler.key_averages()
    return str(averages.table(sort_by=key, row_limit=NUM_OPERATORS, max_name_column_width=40)).rstrip()
