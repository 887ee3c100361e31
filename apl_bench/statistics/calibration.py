"""How right the implicit reward was about the labels that were bought, before it was trained on them.

`probabilities` are those that theta_t gave to the labels (Bradley-Terry, figure 3 of the paper). One of exactly 1/2,
as all are in the first step, is no prediction and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

NUM_BINS = 10  # of confidence, over 1/2 to 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """`accuracy`: share of labels predicted right. `brier`: mean of (1 - p)^2, 1/4 for a coin's, 0 at best.
    `error`: expected calibration error, the mean distance of confidence and accuracy in ten equal bins of confidence,
    weighted by counts. Of `num` predictions."""

    accuracy: float
    brier: float
    error: float
    num: int


def calibration(probabilities: Sequence[float]) -> Calibration | None:
    """None where nothing was predicted.

    Brier (1950), Monthly Weather Review 78:1; Naeini, Cooper and Hauskrecht (2015), AAAI, for the binned error.
    """
    p_N = np.array([probability for probability in probabilities if probability != 0.5])
    if not len(p_N):
        return None
    right_N, confidence_N = p_N > 0.5, np.maximum(p_N, 1 - p_N)
    bin_N = np.minimum(((confidence_N - 0.5) * 2 * NUM_BINS).astype(int), NUM_BINS - 1)
    gaps = np.bincount(bin_N, weights=confidence_N - right_N, minlength=NUM_BINS)
    return Calibration(
        float(right_N.mean()), float(((1 - p_N) ** 2).mean()), float(np.abs(gaps).sum() / len(p_N)), len(p_N)
    )


def score_error_correlation(scores: Sequence[float], wrong: Sequence[bool]) -> float | None:
    """Spearman's rank correlation of a batch's scores with whether the implicit reward had the label wrong.

    Above 0: what scored high was what the reward got wrong. None where all scores, or all errors, are the same.
    """
    if len(set(scores)) < 2 or len(set(wrong)) < 2:
        return None
    return float(stats.spearmanr(np.array(scores), np.array(wrong, dtype=float)).statistic)
