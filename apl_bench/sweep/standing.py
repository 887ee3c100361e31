"""How far a cell has come, from its files alone: whoever works on it, here or elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from apl_bench.sweep.cells import Cell
from apl_bench.sweep.claims import Owner, holder


class Stage(Enum):
    """What there is of a run."""

    COMPLETE = "complete"
    BEGUN = "begun"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Standing:
    """A cell's stage, the acquisition steps that are recorded, and who works on it, if anybody does."""

    stage: Stage
    num_steps: int
    owner: Owner | None


def standing(cell: Cell) -> Standing:
    """What the cell's folder says."""
    run = cell.run
    if run.complete:
        return Standing(Stage.COMPLETE, cell.spec.loop.num_steps, None)
    steps = cell.path / "steps"
    num_steps = sum(1 for _ in steps.glob("*.jsonl")) if steps.is_dir() else 0
    stage = Stage.BEGUN if (cell.path / run.manifest_name).exists() else Stage.MISSING
    return Standing(stage, num_steps, holder(cell.path))
