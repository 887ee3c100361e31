"""Where the workers of this machine run: which GPU each sees, or how many share the cores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICES = ("nvidia[0-9]*", "dxg", "nvhost*")  # of a driver; the second under WSL, the third on boards


def environments(num_workers: int | None, num_threads: int) -> list[Mapping[str, str]]:
    """The environment variables of each worker: a GPU for each, several workers to one where more were asked for; where
    there are none, as many workers as `num_threads` goes into the cores.

    How many threads compute is no matter of the machine but of the spec (policy.num_threads), since it changes digits.
    """
    gpus = visible_gpus()
    num = num_workers or len(gpus) or max(1, num_cores() // num_threads)
    return [{VISIBLE: gpus[slot % len(gpus)]} if gpus else {} for slot in range(num)]


def visible_gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES would name them; those that it leaves, where it is set."""
    stated = os.environ.get(VISIBLE)
    if stated is not None:
        return [name.strip() for name in stated.split(",") if name.strip() not in ("", "-1")]
    if not any(True for pattern in DEVICES for _ in Path("/dev").glob(pattern)):
        return []  # known without torch, which takes seconds to be imported
    from apl_bench.engine.hardware import cuda_devices

    return [str(number) for number in range(len(cuda_devices()))]


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
