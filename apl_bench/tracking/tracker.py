"""What a tracker of experiments has to do, and what it is told of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

from apl_bench.records import Run, run_path
from apl_bench.tracking.rows import Place, Row

Setting: TypeAlias = str | int | float | bool


@dataclass(frozen=True)
class Subject:
    """The run as trackers know it: identity, name (`imdb-lite/certainty/seed-000-d1948e09`), the names of its task and
    preset together and of its strategy, and every setting of its spec by dotted name."""

    identity: str
    name: str
    comparison: str
    strategy: str
    config: Mapping[str, Setting]

    @property
    def group(self) -> str:
        """What the seeds of a strategy have in common."""
        return f"{self.comparison}/{self.strategy}"

    @classmethod
    def of(cls, run: Run) -> Self:
        """From the run's spec."""
        path = run_path(Path(), run.spec)
        config = dict(_leaves("", {"identity": run.spec.identity, **run.spec.to_tables()}))
        return cls(run.spec.identity, path.as_posix(), path.parts[0], run.spec.strategy.name, config)


class Tracker(Protocol):
    """Takes one run. What it raises ends the tracking of the run, and nothing else."""

    def begin(self, run: Subject) -> set[Place]:
        """Begin the run, or take it up again; what of it is there already."""

    def log(self, row: Row) -> None:
        """Add values, none of which is there."""

    def end(self, complete: bool) -> None:
        """No more comes for now; `complete`: ever."""


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Setting]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), item)
    elif isinstance(value, (str, int, float, bool)):
        yield name, value
    elif value is not None:
        yield name, json.dumps(value)
