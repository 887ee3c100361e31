"""Interleaved repeats: each contender takes its turn, so that a busy machine is busy for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleave(contenders: Mapping[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each repeat of each contender, after one turn each that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, work in contenders.items():
            start = time.perf_counter()
            work()
            if turn > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def report(title: str, seconds: Mapping[str, list[float]]) -> str:
    """A line for each contender: its median seconds, and how many times as fast the first contender is.

    The factor is the median over turns of that turn's ratio, because neighbours in time share the machine's mood.
    """
    first = next(iter(seconds))
    lines = [title]
    for name, values in seconds.items():
        ratios = sorted(other / own for other, own in zip(values, seconds[first], strict=True))
        spread = f"(turns {ratios[0]:.2f} to {ratios[-1]:.2f})" if name != first else ""
        lines.append(
            f"  {name:44} {statistics.median(values):8.3f} s  x{statistics.median(ratios):5.2f} {spread}".rstrip()
        )
    return "\n".join(lines)
