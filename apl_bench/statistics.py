"""Win rates, their standard errors and paired differences, on plain arrays.

Outcomes `y_RP` are R seeds x P test prompts in {1 win, 0 loss, 1/2 tie, NaN invalid}: the prompts are the same for all
seeds. Differences of two such arrays are treated alike. An invalid outcome counts for nothing: it is not a tie.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_RANDOM_FLIPS = 100_000
MAX_EXACT_SEEDS = 40
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and prompts with both of its standard errors; NaN where the data cannot give one.

    `se_seeds` leaves out the luck of the test prompts, which all seeds share; `se_two_way` has it, and is the headline.
    With one seed `se_two_way` is over prompts alone, and says nothing of another seed.
    """

    mean: float
    se_seeds: float
    se_two_way: float
    num_seeds: int


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Outcomes minus a baseline's, seed by seed and prompt by prompt.

    `sd_seeds` is the standard deviation of the seeds' differences (ddof 1), `p_value` that of `sign_flip_p`.
    """

    estimate: Estimate
    sd_seeds: float
    p_value: float


def estimate(y_RP: np.ndarray) -> Estimate:
    """Mean and both standard errors of outcomes or of differences."""
    return Estimate(win_rate(y_RP), se_seeds(y_RP), se_two_way(y_RP), len(y_RP))


def paired_difference(y_RP: np.ndarray, baseline_RP: np.ndarray) -> PairedDifference:
    """The difference of two strategies on the same seeds and prompts, rows and columns in the same order.

    A cell that is invalid on either side is left out of both. Raises ValueError where the shapes differ.
    """
    if y_RP.shape != baseline_RP.shape:
        raise ValueError(f"outcomes of shape {y_RP.shape} and {baseline_RP.shape} cannot be paired; align them first")
    difference_RP = y_RP - baseline_RP
    by_seed = seed_means(difference_RP)
    return PairedDifference(estimate(difference_RP), _sd(by_seed), sign_flip_p(by_seed))


def seed_means(y_RP: np.ndarray) -> np.ndarray:
    """Mean over the valid prompts of each seed, shape (R,); NaN for a seed that has none."""
    valid_RP = ~np.isnan(y_RP)
    num_valid = valid_RP.sum(axis=1)
    sums = np.where(valid_RP, y_RP, 0.0).sum(axis=1)
    return np.asarray(np.divide(sums, num_valid, out=np.full(len(y_RP), math.nan), where=num_valid > 0))


def win_rate(y_RP: np.ndarray) -> float:
    """Mean over seeds of each seed's win rate; a tie is half a win."""
    return float(seed_means(y_RP).mean())


def se_seeds(y_RP: np.ndarray) -> float:
    """sd of the seeds' win rates / sqrt(R), ddof 1: what the paper prints. NaN for one seed."""
    return _sd(seed_means(y_RP)) / math.sqrt(len(y_RP))


def se_two_way(y_RP: np.ndarray) -> float:
    """Standard error under luck of the seeds and luck of the prompts, clustered both ways.

    Cameron, Gelbach and Miller (2011): var_seed + var_prompt - var_cell. Small samples: each term is scaled by its
    degrees of freedom (n / (n - 1)), and var_cell is taken from what the main effects leave over, so that the sum is
    unbiased for additive luck where nothing is invalid. It is never below the larger of var_seed and var_prompt (the
    "max-se" of MacKinnon, Nielsen and Webb, arXiv 2406.08880), so never below 0. With one seed it is var_prompt, with
    one prompt var_seed.
    """
    num_seeds, num_prompts = y_RP.shape
    influence_RP = _influence(y_RP)
    var_seed = _cluster_variance(influence_RP.sum(axis=1))
    var_prompt = _cluster_variance(influence_RP.sum(axis=0))
    if num_seeds == 1 or num_prompts == 1:
        return math.sqrt(var_prompt if num_seeds == 1 else var_seed)
    left_over_RP = influence_RP - influence_RP.mean(axis=0) - influence_RP.mean(axis=1, keepdims=True)
    var_cell = (left_over_RP**2).sum() * (num_seeds / (num_seeds - 1)) * (num_prompts / (num_prompts - 1))
    return math.sqrt(max(var_seed + var_prompt - var_cell, var_seed, var_prompt))


def sign_flip_p(by_seed: np.ndarray) -> float:
    """Two-sided p-value of the mean being 0, by flipping the signs of the seeds' differences.

    Exact up to 40 seeds; beyond that the share of 100,000 random flips, the data's own included, drawn from a generator
    keyed by the data, so that everybody gets the same digits. n seeds give no p below 2 / 2^n. NaN for a NaN seed.
    """
    if np.isnan(by_seed).any() or not len(by_seed):
        return math.nan
    threshold = abs(by_seed.sum()) - _ROUNDING * np.abs(by_seed).sum()
    if threshold <= 0:
        return 1.0
    if len(by_seed) > MAX_EXACT_SEEDS:
        return _random_flips_p(by_seed, threshold)
    half = len(by_seed) // 2
    left, right = _signed_sums(by_seed[:half]), np.sort(_signed_sums(by_seed[half:]))
    above = len(right) - np.searchsorted(right, threshold - left, side="left")
    below = np.searchsorted(right, -threshold - left, side="right")
    return float((above.sum() + below.sum()) / (len(left) * len(right)))


def label_weights(num_labels: Sequence[int]) -> np.ndarray:
    """Trapezoid weights over labels, shape (W,), sum 1: their product with a curve is its normalised area.

    Raises ValueError for fewer than two waypoints, or for labels that do not increase.
    """
    labels = np.array(num_labels, dtype=float)
    gaps = np.diff(labels)
    if len(gaps) == 0 or not (gaps > 0).all():
        raise ValueError(f"waypoints are {list(num_labels)}; an area needs at least two, increasing")
    weights = np.zeros(len(labels))
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    return np.asarray(weights / (labels[-1] - labels[0]))


def area_under_curve(y_WRP: np.ndarray, num_labels: Sequence[int]) -> np.ndarray:
    """Label-normalised area under each cell's curve, shape (R, P): `estimate` of it is that of the mean curve.

    A prompt that is invalid at any waypoint is invalid here.
    """
    return np.asarray(np.tensordot(label_weights(num_labels), y_WRP, axes=1))


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _influence(y_RP: np.ndarray) -> np.ndarray:
    """What each cell moves the win rate by: (y - win rate) / (R * valid prompts of the seed), 0 if invalid."""
    valid_RP = ~np.isnan(y_RP)
    centred_RP = np.where(valid_RP, y_RP - win_rate(y_RP), 0.0)
    num_valid = valid_RP.sum(axis=1, keepdims=True)
    nothing_RP = np.full(y_RP.shape, math.nan)
    return np.asarray(np.divide(centred_RP, len(y_RP) * num_valid, out=nothing_RP, where=num_valid > 0))


def _cluster_variance(sums: np.ndarray) -> float:
    """Variance of a total of independent clusters, from the clusters' sums; NaN for one cluster."""
    return float((sums**2).sum() * len(sums) / (len(sums) - 1)) if len(sums) > 1 else math.nan


def _signed_sums(values: np.ndarray) -> np.ndarray:
    """All 2^n sums of +-values."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _random_flips_p(by_seed: np.ndarray, threshold: float) -> float:
    digest = hashlib.sha256(np.ascontiguousarray(by_seed, dtype="<f8").tobytes()).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
    signs = rng.integers(0, 2, size=(NUM_RANDOM_FLIPS, len(by_seed)), dtype=np.int8) * 2 - 1
    return float((1 + (np.abs(signs @ by_seed) >= threshold).sum()) / (1 + NUM_RANDOM_FLIPS))
