"""`certainty`: the paper's own acquisition function."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from apl_bench.pool import CandidatePool
from apl_bench.protocols import Strategy
from apl_bench.selection import best
from apl_bench.types import Acquisition


class Certainty(Strategy):
    """The pairs about which the implicit preference model is surest, either way: the largest |margin| (equation 9)."""

    summary: ClassVar[str] = "the largest margins (equation 9)"

    def select(self, pool: CandidatePool, num_pairs: int, rng: np.random.Generator) -> Acquisition:
        pairs = pool.all_pairs
        return best(pairs, np.abs(pool.margin(pairs)), num_pairs, rng)
