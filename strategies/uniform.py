"""`random`: what every other strategy is measured against."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from apl_bench.pool import CandidatePool
from apl_bench.protocols import Strategy
from apl_bench.selection import uniform
from apl_bench.types import Acquisition, PairIndex


class Random(Strategy):
    """Prompts drawn uniformly; looks at nothing, so that completions are generated for M prompts and not for S.

    Paper: generates for S prompts here too; the M are the same, and a user of random would not pay for the rest.
    """

    summary: ClassVar[str] = "pairs drawn uniformly"

    def select(self, pool: CandidatePool, num_pairs: int, rng: np.random.Generator) -> Acquisition:
        rows = uniform(len(pool), num_pairs, rng).tolist()
        return Acquisition(tuple(PairIndex(row, 0, 1) for row in rows))
