"""A cell of a grid, and one run of it from where it stands to its result."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from apl_bench import runner
from apl_bench.experiment import Materials, Means, build
from apl_bench.journal import recording
from apl_bench.records import Run, run_path
from apl_bench.spec import RunSpec

Listen = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Cell:
    """A task x preset x strategy x seed, and below which folder its run is written. `variant` is the name of the
    settings that make it another grid, if it has one."""

    spec: RunSpec
    root: Path
    variant: str = ""

    @cached_property
    def path(self) -> Path:
        """The run directory."""
        return run_path(self.root, self.spec)

    @property
    def run(self) -> Run:
        """The run as it stands."""
        return Run(self.path)

    @property
    def table(self) -> str:
        """The grid that it belongs to."""
        name = f"{self.spec.task.name}-{self.spec.preset}"
        return f"{name} ({self.variant})" if self.variant else name

    @property
    def name(self) -> str:
        """As one speaks of it."""
        return f"{self.table} {self.spec.strategy.name}, seed {self.spec.seed}"

    @cached_property
    def materials(self) -> str:
        """The same for cells that can share a loaded policy and prompts."""
        tables = self.spec.to_tables()
        parts = [tables["task"], tables["policy"], tables.get("lora"), self.spec.evaluation.num_prompts]
        return json.dumps(parts, sort_keys=True)


def run_cell(spec: RunSpec, path: Path, materials: Materials, means: Means, listen: Listen | None = None) -> Run:
    """One run, from where it stands to its result. Raises whatever stops it; the same call goes on."""
    experiment = build(spec, materials, means)
    with recording(experiment, path, listen) as journal:
        runner.run(experiment, journal)
    return Run(path)
