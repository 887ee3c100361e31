"""How far annotators agree, with each other and with themselves: pure functions on labels.

Labels are texts without an order among them (nominal). Intervals are of 95 %: percentile bootstraps over items, drawn
from a stream that the data themselves name, so that the same labels give the same interval everywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from apl_bench.randomness import stream

NUM_RESAMPLES = 2000
_Z = 1.959963984540054  # normal quantile of 97.5 %


@dataclass(frozen=True, slots=True)
class Measure:
    """A value with its interval of 95 %, and the number of items behind it; NaN where the items cannot give one."""

    value: float
    low: float
    high: float
    num_items: int


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Agreement of two annotators beyond chance, (p_o - p_e) / (1 - p_e) (Cohen 1960); label i of both is of item i.

    NaN without items, and where both gave one and the same label to everything: chance alone explains that. Raises
    ValueError where the lengths differ.
    """
    return float(_kappa(_confusion_CC(first, second)))


def krippendorff_alpha(ratings: Sequence[Sequence[str | None]]) -> float:
    """Agreement of any number of annotators, 1 - D_o / D_e for nominal labels (Krippendorff 2011).

    `ratings[i][j]` is annotator i's label of item j, None where there is none; items with fewer than two labels say
    nothing and are left out. NaN where no item has two, and where all labels are the same. Raises ValueError for rows
    of different lengths.
    """
    return float(_alpha(_counts_NC(ratings).sum(axis=0), _disagreement_N(_counts_NC(ratings)).sum()))


def kappa_measure(first: Sequence[str], second: Sequence[str]) -> Measure:
    """`cohen_kappa` with a bootstrap interval over items."""
    confusion_CC = _confusion_CC(first, second)
    num_items = len(first)
    if num_items == 0:
        return Measure(math.nan, math.nan, math.nan, 0)
    rng = _own_stream("kappa", [list(first), list(second)])
    shares = (confusion_CC / num_items).ravel()
    drawn_BCC = rng.multinomial(num_items, shares, size=NUM_RESAMPLES).reshape(-1, *confusion_CC.shape)
    return Measure(float(_kappa(confusion_CC)), *_percentiles(_kappa(drawn_BCC)), num_items)


def alpha_measure(ratings: Sequence[Sequence[str | None]]) -> Measure:
    """`krippendorff_alpha` with a bootstrap interval over items; counts those with two labels or more."""
    counts_NC = _counts_NC(ratings)
    num_items = len(counts_NC)
    if num_items == 0:
        return Measure(math.nan, math.nan, math.nan, 0)
    rng = _own_stream("alpha", [list(row) for row in ratings])
    # Items with the same counts are alike: drawing how often each kind comes keeps memory flat in the number of items.
    kinds_UC, num_U = np.unique(counts_NC, axis=0, return_counts=True)
    drawn_BU = rng.multinomial(num_items, num_U / num_items, size=NUM_RESAMPLES)
    drawn = _alpha(drawn_BU @ kinds_UC, drawn_BU @ _disagreement_N(kinds_UC))
    return Measure(krippendorff_alpha(ratings), *_percentiles(drawn), num_items)


def share_measure(num_same: int, num_items: int) -> Measure:
    """The share `num_same` of `num_items`, with Wilson's score interval: fair also for few items and shares near 1."""
    if not 0 <= num_same <= num_items:
        raise ValueError(f"{num_same} of {num_items} is no share; expected a count from 0 to the number of items")
    if num_items == 0:
        return Measure(math.nan, math.nan, math.nan, 0)
    share, weight = num_same / num_items, _Z**2 / num_items
    centre = (share + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * math.sqrt(share * (1 - share) / num_items + weight / (4 * num_items))
    return Measure(share, max(0.0, centre - half), min(1.0, centre + half), num_items)


def _confusion_CC(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """How often the first said c where the second said k, as float64."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} labels cannot be paired with {len(second)}; expected two for each item")
    place = {label: index for index, label in enumerate(sorted({*first, *second}))}
    confusion_CC = np.zeros((len(place), len(place)))
    for one, other in zip(first, second, strict=True):
        confusion_CC[place[one], place[other]] += 1
    return confusion_CC


def _kappa(confusion_CC: np.ndarray) -> np.ndarray:
    """Kappa of each confusion matrix in the last two axes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        num_items = confusion_CC.sum(axis=(-2, -1))
        observed = np.trace(confusion_CC, axis1=-2, axis2=-1) / num_items
        expected = (confusion_CC.sum(axis=-1) * confusion_CC.sum(axis=-2)).sum(axis=-1) / num_items**2
        return np.asarray(np.where(expected < 1, (observed - expected) / (1 - expected), math.nan))


def _counts_NC(ratings: Sequence[Sequence[str | None]]) -> np.ndarray:
    """How many annotators gave item n the label c, of the items with two labels or more, as float64."""
    lengths = {len(row) for row in ratings}
    if len(lengths) > 1:
        raise ValueError(f"the rows of ratings have the lengths {sorted(lengths)}; expected one cell for each item")
    labels = {cell for row in ratings for cell in row if cell is not None}
    place = {label: index for index, label in enumerate(sorted(labels))}
    counts_NC = np.zeros((max(lengths, default=0), len(place)))
    for row in ratings:
        for item, label in enumerate(row):
            if label is not None:
                counts_NC[item, place[label]] += 1
    return np.asarray(counts_NC[counts_NC.sum(axis=1) >= 2])


def _disagreement_N(counts_NC: np.ndarray) -> np.ndarray:
    """Ordered pairs of unequal labels of each item, weighted by 1 / (labels of the item - 1)."""
    size_N = counts_NC.sum(axis=1)
    return np.asarray((size_N**2 - (counts_NC**2).sum(axis=1)) / np.maximum(size_N - 1, 1))


def _alpha(totals_C: np.ndarray, disagreement: np.ndarray) -> np.ndarray:
    """1 - D_o / D_e from each label's total (last axis) and the sum of the items' disagreements."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = totals_C.sum(axis=-1)
        expected = (size**2 - (totals_C**2).sum(axis=-1)) / (size - 1)
        return np.asarray(np.where(expected > 0, 1 - disagreement / expected, math.nan))


def _own_stream(name: str, labels: object) -> np.random.Generator:
    digest = hashlib.sha256(json.dumps(labels).encode()).hexdigest()
    return stream("agreement", name, digest)


def _percentiles(drawn: np.ndarray) -> tuple[float, float]:
    """2.5 % and 97.5 % of the resamples that have a value; a resample of one label alone has none."""
    usable = drawn[~np.isnan(drawn)]
    if usable.size == 0:
        return math.nan, math.nan
    low, high = np.percentile(usable, [2.5, 97.5])
    return float(low), float(high)
