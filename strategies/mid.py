"""`mid`: neither sure nor unsure (an arm of the paper's released code)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from apl_bench.pool import CandidatePool
from apl_bench.protocols import Strategy
from apl_bench.selection import best, median_distance
from apl_bench.types import Acquisition


class Mid(Strategy):
    """The M pairs whose |margin| is nearest the median; the score is minus the distance from it, in places."""

    summary: ClassVar[str] = "margins from the middle of their order"

    def select(self, pool: CandidatePool, num_pairs: int, rng: np.random.Generator) -> Acquisition:
        pairs = pool.all_pairs
        return best(pairs, -median_distance(np.abs(pool.margin(pairs)), rng), num_pairs, rng)
