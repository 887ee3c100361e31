"""`entropy+certainty`: the paper's two-stage rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from apl_bench.pool import PromptPool
from apl_bench.selection import top
from apl_bench.strategies.certainty import Certainty


class EntropyCertainty(Certainty):
    """Of J * S prompts the S of the highest entropy go on; of their pairs, the M largest |margin| are labelled."""

    summary: ClassVar[str] = "the largest margins among the prompts of the highest entropy"
    oversample: int | None = None

    def shortlist(self, prompts: PromptPool, keep: int, rng: np.random.Generator) -> Sequence[int]:
        rows: list[int] = top(prompts.entropy_S, keep, rng).tolist()
        return rows
