"""`uncertainty`: the opposite of `certainty` (an arm of the paper's released code)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from apl_bench.pool import CandidatePool
from apl_bench.protocols import Strategy
from apl_bench.selection import best
from apl_bench.types import Acquisition


class Uncertainty(Strategy):
    """The smallest |margin|; the same order as by Bradley-Terry entropy or by least confidence."""

    summary: ClassVar[str] = "the smallest margins"

    def select(self, pool: CandidatePool, num_pairs: int, rng: np.random.Generator) -> Acquisition:
        pairs = pool.all_pairs
        return best(pairs, -np.abs(pool.margin(pairs)), num_pairs, rng)
