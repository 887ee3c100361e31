"""The layers that import-linter holds name every module there is."""

from __future__ import annotations

import pkgutil
import tomllib
from pathlib import Path

import apl_bench

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))


def test_torch_is_forbidden_everywhere_but_in_the_engine_and_the_benchmarks() -> None:
    (contract,) = (c for c in PROJECT["tool"]["importlinter"]["contracts"] if "torch" in c["name"])
    modules = {f"apl_bench.{module.name}" for module in pkgutil.iter_modules(apl_bench.__path__)}
    free = {"apl_bench.engine", "apl_bench.benchmarks", "apl_bench.__main__"}
    assert {*contract["source_modules"], *free} == modules
