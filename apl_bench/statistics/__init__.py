"""Win rates, their errors, tests and intervals, on plain arrays. docs/statistics.md explains every one.

Outcomes `y_RP` are R seeds x P test prompts in {1 win, 0 loss, 1/2 tie, NaN invalid}: the prompts are the same for all
seeds. Differences of two such arrays are treated alike. An invalid outcome counts for nothing: it is not a tie.
"""

from __future__ import annotations

from apl_bench.statistics.estimates import (
    Bounds,
    Estimate,
    PairedDifference,
    area_under_curve,
    bounds,
    estimate,
    paired_difference,
    se_seeds,
    se_two_way,
    seed_means,
    win_rate,
)
from apl_bench.statistics.families import ALPHA, Family, Hypothesis, holm
from apl_bench.statistics.sign_flips import sign_flip_p

__all__ = [
    "ALPHA",
    "Bounds",
    "Estimate",
    "Family",
    "Hypothesis",
    "PairedDifference",
    "area_under_curve",
    "bounds",
    "estimate",
    "holm",
    "paired_difference",
    "se_seeds",
    "se_two_way",
    "seed_means",
    "sign_flip_p",
    "win_rate",
]
