"""Labels that a strategy needs to reach a rate, and labels that it saves against the baseline: with censoring.

Between waypoints curves are straight. The first place where the mean curve is at the target counts. A curve that is
below it throughout is *censored*: it needs more labels than were bought, nobody knows how many. Labels saved are what
the baseline needs for the target less what the strategy needs: for its own last rate the baseline needs what it spent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from apl_bench.statistics.curves import draw_means
from apl_bench.statistics.estimates import LEVEL


@dataclass(frozen=True, slots=True)
class Labels:
    """A number of labels with its 95 % interval; None where it is beyond what was bought.

    `censored`: the number itself is; then it lies above `at_least` or below `at_most`, if either is known. `target` is
    the rate to be reached, of the mean curves. An end of the interval that is None lies beyond the last waypoint: no
    upper end to labels needed, no lower end to labels saved; for a stated target that the baseline may not reach, no
    upper end to these either. `interval` is None where there is none to be had (one seed).
    """

    target: float
    num_labels: float | None
    interval: tuple[float | None, float | None] | None
    censored: bool
    at_least: float | None
    at_most: float | None


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Labels that reach the target, and labels saved: what the baseline spent less those."""

    to_target: Labels
    saved: Labels


def efficiency(y_WRP: np.ndarray, baseline_WRP: np.ndarray, num_labels: np.ndarray) -> Efficiency | None:
    """Against the baseline's rate at the last waypoint, which is a draw of its own in each draw; seeds and prompts are
    those of both. None where a mean is missing."""
    found = draw_means(np.concatenate([y_WRP, baseline_WRP]))
    if found is None:
        return None
    num, spent = len(num_labels), float(num_labels[-1])
    target, targets_B = float(found.mean_D[-1]), found.draws_BD[:, -1]
    needed = _needed(found.mean_D[:num], target, num_labels)
    needed_B = crossing(found.draws_BD[:, :num], targets_B, num_labels)
    saved_B = spent - needed_B
    return Efficiency(
        _labels(target, (min(needed, spent), needed), needed_B, needed_B),
        _labels(target, (spent - needed, spent - min(needed, spent)), saved_B, saved_B),
    )


def to_fixed_target(y_WRP: np.ndarray, target: float, num_labels: np.ndarray) -> Labels | None:
    """Labels that reach a rate which was stated, not measured."""
    found = draw_means(y_WRP)
    if found is None:
        return None
    needed = _needed(found.mean_D, target, num_labels)
    needed_B = crossing(found.draws_BD, np.full(len(found.draws_BD), target), num_labels)
    return _labels(target, (min(needed, float(num_labels[-1])), needed), needed_B, needed_B)


def saved_to_fixed_target(
    y_WRP: np.ndarray, baseline_WRP: np.ndarray, target: float, num_labels: np.ndarray
) -> Labels | None:
    """Labels saved for a rate which was stated: what the baseline needs for it less what the strategy needs.

    Where one of the two does not reach it, only a bound is known; so the interval runs from the 2.5 % point of the
    draws' lower bounds to the 97.5 % point of their upper ones. Where neither reaches it, nothing is known.
    """
    found = draw_means(np.concatenate([y_WRP, baseline_WRP]))
    if found is None:
        return None
    num, spent = len(num_labels), float(num_labels[-1])
    curves_BD = np.concatenate([found.mean_D[None], found.draws_BD])
    targets_B = np.full(len(curves_BD), target)
    ours_B = crossing(curves_BD[:, :num], targets_B, num_labels)
    theirs_B = crossing(curves_BD[:, num:], targets_B, num_labels)
    low_B, high_B = np.minimum(theirs_B, spent) - ours_B, theirs_B - np.minimum(ours_B, spent)
    return _labels(target, (float(low_B[0]), float(high_B[0])), low_B[1:], high_B[1:])


def _needed(curve_W: np.ndarray, target: float, num_labels: np.ndarray) -> float:
    return float(crossing(curve_W[None], np.array([target]), num_labels)[0])


def crossing(curves_BW: np.ndarray, targets_B: np.ndarray, num_labels: np.ndarray) -> np.ndarray:
    """Labels at which each curve is first at its target, infinite where it never is; the first waypoint's where it
    begins there."""
    reached_BW = curves_BW >= targets_B[:, None]
    first_B = reached_BW.argmax(axis=1)
    before_B = np.maximum(first_B - 1, 0)
    rows = np.arange(len(curves_BW))
    low_B, high_B = curves_BW[rows, before_B], curves_BW[rows, first_B]
    rise_B = np.where(high_B > low_B, high_B - low_B, 1.0)
    share_B = np.where(first_B > 0, (targets_B - low_B) / rise_B, 0.0)
    labels = np.asarray(num_labels, dtype=float)
    found_B = labels[before_B] + share_B * (labels[first_B] - labels[before_B])
    return np.where(reached_BW.any(axis=1), found_B, math.inf)


def _labels(target: float, bounds: tuple[float, float], low_B: np.ndarray, high_B: np.ndarray) -> Labels:
    """From what the mean curves say that the number is at least and at most, equal where they say it, and from the same
    of each draw."""
    at_least, at_most = map(_finite, bounds)
    value = at_least if at_least == at_most else None
    interval = (_quantile(low_B, (1 - LEVEL) / 2), _quantile(high_B, (1 + LEVEL) / 2)) if len(low_B) else None
    return Labels(float(target), value, interval, value is None, at_least, at_most)


def _quantile(draws_B: np.ndarray, share: float) -> float | None:
    """An order statistic, not interpolated: between a number and infinity there is nothing."""
    return _finite(float(np.quantile(draws_B, share, method="inverted_cdf")))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
