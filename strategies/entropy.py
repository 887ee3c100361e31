"""`entropy`: prompts by the policy's predictive entropy (the paper, equations 6-8)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from apl_bench.pool import CandidatePool
from apl_bench.protocols import Strategy
from apl_bench.selection import best
from apl_bench.types import Acquisition, PairIndex


class Entropy(Strategy):
    """The prompts of the highest predictive entropy, equation 8: where the policy is least sure what to write."""

    summary: ClassVar[str] = "prompts of the highest entropy (equation 8)"

    def select(self, pool: CandidatePool, num_pairs: int, rng: np.random.Generator) -> Acquisition:
        pairs = [PairIndex(row, 0, 1) for row in range(len(pool))]
        return best(pairs, pool.entropy_S, num_pairs, rng)
