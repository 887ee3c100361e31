"""Ranks as intervals: a strategy is ahead of another only where their difference can be told from none.

Every pair is compared, paired by seed and prompt, with the two-way error and Student's t; Holm's correction over all
pairs makes the intervals hold together: with probability 95 % no strategy's true rank is outside of its own (Mogstad,
Romano, Shaikh and Wilhelm 2024, Review of Economic Studies 91:476, take the same way from differences to ranks).

Fewer than six seeds separate nobody. Satterthwaite's degrees of freedom are estimated as well, and among 28 pairs of a
few seeds there is one whose seeds agree by chance, so that its luck seems to be the prompts' and its degrees of freedom
hundreds: of eight equal strategies some was put ahead in up to one experiment of three (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from apl_bench.statistics.estimates import Estimate, estimate
from apl_bench.statistics.families import ALPHA, holm

MIN_SEEDS = 6  # with fewer, no exact two-sided test over seeds can reach ALPHA either, however much they agree


@dataclass(frozen=True, slots=True)
class Rank:
    """From the best place that the data allow to the worst, 1 being the top; `tied` are the positions of those that it
    can't be told from."""

    best: int
    worst: int
    tied: tuple[int, ...]


def rank_intervals(outcomes: Sequence[np.ndarray], alpha: float = ALPHA) -> list[Rank]:
    """For strategies by their outcomes y_RP on the same seeds and prompts. Fewer than MIN_SEEDS separate nobody."""
    num = len(outcomes)
    ahead = _ahead(outcomes, alpha)
    return [
        Rank(1 + int(ahead[:, i].sum()), num - int(ahead[i].sum()),
             tuple(j for j in range(num) if j != i and not ahead[i, j] and not ahead[j, i]))
        for i in range(num)
    ]  # fmt: skip


def _ahead(outcomes: Sequence[np.ndarray], alpha: float) -> np.ndarray:
    """Who is ahead of whom for certain: [i, j] is true where i is ahead of j."""
    ahead = np.zeros((len(outcomes), len(outcomes)), dtype=bool)
    if not outcomes or len(outcomes[0]) < MIN_SEEDS:
        return ahead
    pairs = list(combinations(range(len(outcomes)), 2))
    differences = [estimate(outcomes[i] - outcomes[j]) for i, j in pairs]
    adjusted = holm([t_test_p(found) for found in differences])
    for (i, j), found, p in zip(pairs, differences, adjusted, strict=True):
        if p <= alpha:
            ahead[(i, j) if found.mean > 0 else (j, i)] = True
    return ahead


def t_test_p(found: Estimate) -> float:
    """Two-sided p-value of the mean being 0, by the two-way error; NaN for one seed, which says nothing of another."""
    if found.num_seeds < 2 or math.isnan(found.se_two_way):
        return math.nan
    if found.se_two_way == 0:
        return float(found.mean == 0)
    return float(2 * stats.t.sf(abs(found.mean) / found.se_two_way, found.df))
