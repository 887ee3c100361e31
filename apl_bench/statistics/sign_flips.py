"""The test of a difference over seeds that supposes nothing but symmetry: flip the signs of the seeds' differences."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from apl_bench.statistics.streams import keyed_generator

NUM_FLIPS = 99_999  # at random, where there are more than this in all: from 17 seeds on
_DIGITS = 12


def sign_flip_p(by_seed: np.ndarray) -> float:
    """Two-sided p-value of the mean being 0, by flipping the signs of the seeds' differences.

    Exact up to 16 seeds; beyond that from 99,999 random flips and the data's own, drawn from a generator keyed by the
    data, so that everybody gets the same digits. n seeds give no p below 2 / 2^n. NaN for a NaN seed. What two
    strategies with equal distributions of a seed's win rate on *these* test prompts would give: the luck of the prompts
    is not in it (docs/statistics.md).
    """
    if np.isnan(by_seed).any() or not len(by_seed):
        return math.nan
    size = float(np.abs(by_seed).sum())
    if size == 0 or len(by_seed) == 1:
        return 1.0

    def mean(differences: np.ndarray, axis: int) -> np.ndarray:
        """As a share of the largest possible, rounded, so that equal sums taken in another order are equal."""
        return np.asarray(np.round(differences.sum(axis=axis) / size, _DIGITS))

    found = stats.permutation_test(
        (by_seed,), mean, permutation_type="samples", vectorized=True, n_resamples=NUM_FLIPS,
        alternative="two-sided", rng=keyed_generator(by_seed),
    )  # fmt: skip
    return float(found.pvalue)
