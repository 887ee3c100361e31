"""Means over seeds and prompts, with the error over the seeds, the two-way error, and intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from apl_bench.statistics.sign_flips import sign_flip_p

LEVEL = 0.95  # of every interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and prompts with both of its standard errors; NaN where the data cannot give one.

    `se_seeds` leaves out the luck of the test prompts, which all seeds share; `se_two_way` has it, and is the headline,
    with `df` degrees of freedom. With one seed `se_two_way` is over prompts alone, and says nothing of another seed.
    """

    mean: float
    se_seeds: float
    se_two_way: float
    num_seeds: int
    df: float = math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, by the two-way error and Student's t."""
        return t_interval(self.mean, self.se_two_way, self.df)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Outcomes minus a baseline's, seed by seed and prompt by prompt.

    `sd_seeds` is the standard deviation of the seeds' differences (ddof 1), `p_value` that of `sign_flip_p`.
    """

    estimate: Estimate
    sd_seeds: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a mean could have been, had the invalid verdicts all gone against it, and had they all gone for it."""

    worst: float
    best: float


@dataclass(frozen=True, slots=True)
class TwoWay:
    """Variance of a mean under the luck of seeds and of prompts, and its degrees of freedom."""

    variance: float
    df: float


def estimate(y_RP: np.ndarray) -> Estimate:
    """Mean and both standard errors of outcomes or of differences."""
    two_way = two_way_variance(y_RP)
    return Estimate(win_rate(y_RP), se_seeds(y_RP), math.sqrt(two_way.variance), len(y_RP), two_way.df)


def paired_difference(y_RP: np.ndarray, baseline_RP: np.ndarray) -> PairedDifference:
    """The difference of two strategies on the same seeds and prompts, rows and columns in the same order.

    A cell that is invalid on either side is left out of both. Raises ValueError where the shapes differ.
    """
    if y_RP.shape != baseline_RP.shape:
        raise ValueError(f"outcomes of shape {y_RP.shape} and {baseline_RP.shape} cannot be paired; align them first")
    difference_RP = y_RP - baseline_RP
    by_seed = seed_means(difference_RP)
    return PairedDifference(estimate(difference_RP), _sd(by_seed), sign_flip_p(by_seed))


def bounds(y_RP: np.ndarray) -> Bounds:
    """The win rate with every invalid verdict lost, and with every one won."""
    return Bounds(float(np.nan_to_num(y_RP, nan=0.0).mean()), float(np.nan_to_num(y_RP, nan=1.0).mean()))


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
    """Standard error under luck of the seeds and luck of the prompts, clustered both ways: see `two_way_variance`."""
    return math.sqrt(two_way_variance(y_RP).variance)


def two_way_variance(y_RP: np.ndarray) -> TwoWay:
    """Variance of the mean, clustered by seed and by prompt.

    Cameron, Gelbach and Miller (2011): var_seed + var_prompt - var_cell. Small samples: each term is scaled by its
    degrees of freedom (n / (n - 1)), and var_cell is taken from what the main effects leave over, so that the sum is
    unbiased for additive luck where nothing is invalid. It is never below the larger of var_seed and var_prompt (the
    "max-se" of MacKinnon, Nielsen and Webb, arXiv 2406.08880), so never below 0. With one seed it is var_prompt, with
    one prompt var_seed. Degrees of freedom are Satterthwaite's (1946): those of the term that rules, so that few seeds
    count where they bring the luck, and cost nothing where the prompts do.
    """
    num_seeds, num_prompts = y_RP.shape
    influence_RP = influence(y_RP)
    var_seed = _cluster_variance(influence_RP.sum(axis=1))
    var_prompt = _cluster_variance(influence_RP.sum(axis=0))
    if num_seeds == 1 or num_prompts == 1:
        return TwoWay(var_prompt if num_seeds == 1 else var_seed, float(max(num_seeds, num_prompts) - 1))
    left_over_RP = influence_RP - influence_RP.mean(axis=0) - influence_RP.mean(axis=1, keepdims=True)
    var_cell = float((left_over_RP**2).sum() * (num_seeds / (num_seeds - 1)) * (num_prompts / (num_prompts - 1)))
    variance = max(var_seed + var_prompt - var_cell, var_seed, var_prompt)
    dfs = (num_seeds - 1, num_prompts - 1, (num_seeds - 1) * (num_prompts - 1))
    return TwoWay(variance, satterthwaite(variance, (var_seed, var_prompt, var_cell), dfs))


def satterthwaite(variance: float, terms: Sequence[float], dfs: Sequence[int]) -> float:
    """Degrees of freedom of a variance put together from independent terms; the fewest of them where it is 0."""
    if variance == 0:
        return float(min(dfs))
    return variance**2 / math.fsum(term**2 / df for term, df in zip(terms, dfs, strict=True))


def t_interval(mean: float, error: float, df: float) -> tuple[float, float]:
    """95 % by Student's t; NaN at both ends where there is no error."""
    half = float(stats.t.ppf((1 + LEVEL) / 2, df)) * error
    return mean - half, mean + half


def area_under_curve(y_WRP: np.ndarray, num_labels: Sequence[int]) -> np.ndarray:
    """Label-normalised area under each cell's curve, shape (R, P): `estimate` of it is that of the mean curve.

    By trapezoids over the W waypoints: the mean height between the first and the last. A prompt that is invalid at any
    waypoint is invalid here. Raises ValueError for fewer than two waypoints, or for labels that do not increase.
    """
    labels = np.array(num_labels, dtype=float)
    if len(labels) < 2 or not (np.diff(labels) > 0).all():
        raise ValueError(f"waypoints are {list(num_labels)}; an area needs at least two, increasing")
    return np.asarray(np.trapezoid(y_WRP, labels, axis=0) / (labels[-1] - labels[0]))


def influence(y_RP: np.ndarray) -> np.ndarray:
    """What each cell moves the win rate by: (y - win rate) / (R * valid prompts of the seed), 0 if invalid."""
    valid_RP = ~np.isnan(y_RP)
    centred_RP = np.where(valid_RP, y_RP - win_rate(y_RP), 0.0)
    num_valid = valid_RP.sum(axis=1, keepdims=True)
    nothing_RP = np.full(y_RP.shape, math.nan)
    return np.asarray(np.divide(centred_RP, len(y_RP) * num_valid, out=nothing_RP, where=num_valid > 0))


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _cluster_variance(sums: np.ndarray) -> float:
    """Variance of a total of independent clusters, from the clusters' sums; NaN for one cluster."""
    return float((sums**2).sum() * len(sums) / (len(sums) - 1)) if len(sums) > 1 else math.nan
