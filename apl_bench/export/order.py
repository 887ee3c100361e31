"""Runs in an order that does not depend on where they lie, each once."""

from __future__ import annotations

from collections.abc import Sequence

from apl_bench.records import Run
from apl_bench.types import SpecError


def in_order(runs: Sequence[Run]) -> list[Run]:
    """Sorted by task, preset, strategy, seed and identity. Raises SpecError for a run that is there twice."""
    first: dict[str, Run] = {}
    for run in runs:
        same = first.setdefault(run.spec.identity, run)
        if same is not run:
            raise SpecError(f"{same.path} and {run.path} are the same run; name one of them")
    return sorted(runs, key=_place)


def _place(run: Run) -> tuple[str, str, str, int, str]:
    spec = run.spec
    return (spec.task.name, spec.preset, spec.strategy.name, spec.seed, spec.identity)
