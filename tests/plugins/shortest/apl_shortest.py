"""A strategy from outside: it buys pairs of the shortest prompts."""

from __future__ import annotations

import numpy as np

from apl_bench.pool import CandidatePool
from apl_bench.protocols import Strategy
from apl_bench.types import Acquisition, PairIndex


class Shortest(Strategy):
    """Prompts of the fewest characters first; equally long ones in an order drawn from `rng`."""

    summary = "pairs of the shortest prompts"

    def __init__(self, longest: bool = False) -> None:
        self.sign = -1 if longest else 1

    def select(self, pool: CandidatePool, num_pairs: int, rng: np.random.Generator) -> Acquisition:
        lengths = np.array([self.sign * len(prompt.text) for prompt in pool.prompts])
        order = np.lexsort((rng.random(len(lengths)), lengths))[:num_pairs]
        return Acquisition(tuple(PairIndex(row, 0, 1) for row in order.tolist()))
