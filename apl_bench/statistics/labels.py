"""Labels that a strategy needs to reach a rate, and labels that it saves against the baseline: with censoring.

Between waypoints curves are straight. The first place where the mean curve is at the target counts. A curve that is
below it throughout is *censored*: it needs more labels than were bought, nobody knows how many.
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

    `censored`: the number itself is. `target` is the rate to be reached, of the mean curves. An end of the interval
    that is None lies beyond the last waypoint: no upper end to labels needed, no lower end to labels saved.
    `interval` is None where there is none to be had (one seed).
    """

    target: float
    num_labels: float | None
    interval: tuple[float | None, float | None] | None
    censored: bool


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
    num = len(num_labels)
    target, targets_B = found.mean_D[-1], found.draws_BD[:, -1]
    needed = float(crossing(found.mean_D[None, :num], np.array([target]), num_labels)[0])
    needed_B = crossing(found.draws_BD[:, :num], targets_B, num_labels)
    spent = float(num_labels[-1])
    return Efficiency(_labels(target, needed, needed_B), _labels(target, spent - needed, spent - needed_B))


def to_fixed_target(y_WRP: np.ndarray, target: float, num_labels: np.ndarray) -> Labels | None:
    """Labels that reach a rate which was stated, not measured."""
    found = draw_means(y_WRP)
    if found is None:
        return None
    needed_B = crossing(found.draws_BD, np.full(len(found.draws_BD), target), num_labels)
    return _labels(target, float(crossing(found.mean_D[None], np.array([target]), num_labels)[0]), needed_B)


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


def _labels(target: float, value: float, draws_B: np.ndarray) -> Labels:
    known = value if math.isfinite(value) else None
    if not len(draws_B):
        return Labels(float(target), known, None, known is None)
    # Order statistics, not interpolated: between a number and infinity there is nothing.
    ends = np.quantile(draws_B, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf").tolist()
    low, high = (end if math.isfinite(end) else None for end in ends)
    return Labels(float(target), known, (low, high), known is None)
