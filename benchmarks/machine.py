"""On what it is measured: machine, versions, threads, and how fast a matrix product is here."""

from __future__ import annotations

import logging
import os
import platform
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

import torch

from apl_bench.engine.flops import measured_peak
from apl_bench.engine.memory import keep_freed_memory
from apl_bench.types import JSON, SpecError

PACKAGES = ("apl-bench", "torch", "transformers", "trl", "peft", "numpy")


@dataclass(frozen=True, slots=True)
class Settled:
    """What is settled for all contenders before anything is measured: the device, and whether freed memory is kept."""

    device: str
    keeps_memory: bool

    @classmethod
    def of(cls, device: str | None, num_threads: int, keep_memory: bool) -> Self:
        """Settle it, for this process: torch's threads, the allocator, and that libraries are quiet.

        Without a device it is cuda where there is one. Raises SpecError for a device that is not there.
        """
        warnings.simplefilter("ignore")
        logging.getLogger("transformers").setLevel(logging.ERROR)
        torch.set_num_threads(num_threads)
        if device == "cuda" and not torch.cuda.is_available():
            raise SpecError("--device is cuda, and torch finds none; expected a CUDA device and a torch built for it. "
                            "Leave the option out, or say cpu")  # fmt: skip
        found = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(found, keep_freed_memory() if keep_memory else False)


def environment(settled: Settled, dtype: str) -> dict[str, JSON]:
    """What a figure needs beside it, by name; the peak is measured now, in half a second."""
    peak = measured_peak(torch.device(settled.device), getattr(torch, dtype))
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name() if settled.device == "cuda" else "cpu",
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "load before": round(os.getloadavg()[0], 2),
        "matmul peak, GFLOP/s": round(peak, 1),
        "allocator keeps freed memory": settled.keeps_memory,
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }


def processor() -> str:
    """The processor's own name where the system tells it, else its kind."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
