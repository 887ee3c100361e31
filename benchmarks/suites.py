"""What there is to measure, by name. Imports nothing heavy: a command's help lists it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from apl_bench.spec import nearest
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.benchmarks.plan import Plan
    from apl_bench.benchmarks.results import Result

Measure = Callable[["Plan"], Iterator["Result"]]


@dataclass(frozen=True, slots=True)
class Suite:
    """What it measures, whether that depends on the shape, and what it needs beside the package itself."""

    summary: str
    has_shape: bool = False
    needs: tuple[str, ...] = ()


SUITES = {
    "overhead": Suite("where two steps of imdb lite go"),
    "sampling": Suite("completions, against transformers' generate", has_shape=True),
    "training": Suite("a DPO epoch, against TRL and the reference procedure", has_shape=True, needs=("trl",)),
    "step": Suite(
        "a whole step of entropy+certainty, against generate and TRL put together", has_shape=True, needs=("trl",)
    ),
    "peak": Suite("a DPO update, as a share of the measured matmul peak", has_shape=True, needs=("peft",)),
    "memory": Suite("peak memory of DPO, all weights and LoRA", has_shape=True, needs=("peft",)),
    "asking": Suite("judgments a second from a provider on loopback"),
    "ledger": Suite("a ledger of the paper's whole grid: minutes, and 1 GB of disk"),
    "sweep": Suite("what a sweep of sixteen cells adds to them: minutes"),
    "verify": Suite("a submission of 36 runs and 170,000 judgments: minutes, and 1 GB of disk"),
    "site": Suite("the leaderboard's site from fifty submissions"),
    "startup": Suite("apl-bench --help"),
}
SHAPES = ("lite", "smollm2-imdb", "smollm2-tldr", "smollm2-longest")  # those of shapes.py


def load(name: str) -> Measure:
    """The function that measures a suite; it is imported now."""
    measure: Measure = importlib.import_module(f"apl_bench.benchmarks.{name}").measure
    return measure


def known(names: Sequence[str]) -> list[str]:
    """The suites called so, each once, in the order in which they run: all of them where none is named.

    Raises SpecError for one that does not exist, and where a package is not installed that one needs.
    """
    for name in names:
        if name not in SUITES:
            raise nearest(name, "suite", SUITES)
    chosen = [name for name in SUITES if not names or name in names]
    for package in ("trl", "peft"):
        lacking = [name for name in chosen if package in SUITES[name].needs]
        if lacking and find_spec(package) is None:
            others = [name for name in SUITES if package not in SUITES[name].needs]
            raise SpecError(f"{', '.join(lacking)}: measuring this needs {package}: pip install 'apl-bench[bench]'. "
                            f"Without it there are: {', '.join(others)}")  # fmt: skip
    return chosen
