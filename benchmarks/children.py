"""Measurements in a process of their own, so that its peak memory is its own. Imports nothing heavy."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

from apl_bench.types import JSON


def in_a_child(module: str, *arguments: str) -> JSON:
    """What the module's main program prints, as JSON; what it says on stderr goes where ours goes.

    Raises CalledProcessError where it fails.
    """
    command = [sys.executable, "-m", module, *arguments]
    answer: JSON = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return answer


def peak_memory_mb() -> float:
    """The most memory that this program has held, MB.

    On Linux not from getrusage, which counts that of the process which started it, too.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        import resource  # not there on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if platform.system() == "Darwin" else 1e3)
    (line,) = (line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6
