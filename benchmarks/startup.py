"""`apl-bench --help`, and what importing torch alone would cost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from apl_bench.benchmarks.plan import Contenders, Plan, interleave
from apl_bench.benchmarks.results import Race


def measure(plan: Plan) -> Iterator[Race]:
    """Wall-clock seconds of a new interpreter."""
    yield Race("startup", "", "starting up", interleave(contenders(), plan.repeats))


def contenders() -> Contenders:
    """Each starts a new interpreter."""
    return {
        "apl-bench --help": lambda: _python("from apl_bench.cli.main import main; main(['--help'])"),
        "python, nothing imported": lambda: _python("pass"),
        "python -c 'import torch'": lambda: _python("import torch"),
    }


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
