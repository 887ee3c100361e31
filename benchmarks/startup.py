"""`apl-bench --help`, and what importing torch alone would cost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable


def contenders() -> dict[str, Callable[[], None]]:
    """Each starts a new interpreter."""
    return {
        "apl-bench --help": lambda: _python("from apl_bench.cli.main import main; main(['--help'])"),
        "python, nothing imported": lambda: _python("pass"),
        "python -c 'import torch'": lambda: _python("import torch"),
    }


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
