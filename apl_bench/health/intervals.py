"""Exact intervals for shares, and the exact test against one half: pure functions on counts.

Clopper and Pearson's interval (1934) is the set of shares that the exact binomial test does not reject. It covers the
true share at least 95 % of the time at every count, also at none of n and all of n, where judges often are; the price
is that it is a little wide. Where several answers belong to one prompt the count is made smaller by the design effect
first (Korn and Graubard 1998), since answers that hang together say less than as many that do not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

from scipy import stats

from apl_bench.annotation.agreement import Measure

TAIL = 0.025
NOTHING = Measure(math.nan, math.nan, math.nan, 0)


def exact_share(num_hits: int, num_items: int) -> Measure:
    """The share of independent items, with the interval of Clopper and Pearson; NaN without items."""
    if not 0 <= num_hits <= num_items:
        raise ValueError(f"{num_hits} of {num_items} is no share; expected a count from 0 to the number of items")
    return _measure(num_hits, num_items, num_items)


def clustered_share(hits: Sequence[bool], clusters: Sequence[Hashable]) -> Measure:
    """The share of items that hit, where items of one cluster hang together; `clusters[i]` is that of item i.

    Clopper and Pearson's interval for the effective number of items: as many as there are, divided by the design effect
    (variance of the share by clusters over that of independent items), which is never taken to be below 1. Where none
    or all hit there is no variance to see, and each cluster counts as one item; no other share is told with an end
    further out than that. With one item in each cluster it is `exact_share`.
    """
    num_hits, num_items, num_clusters = sum(hits), len(hits), len(set(clusters))
    if not num_items:
        return NOTHING
    found = _measure(num_hits, num_items, num_items / design_effect(hits, clusters))
    least, most = TAIL ** (1 / num_clusters), 1 - TAIL ** (1 / num_clusters)
    low = 0.0 if num_hits == 0 else min(found.low, least)
    high = 1.0 if num_hits == num_items else max(found.high, most)
    return Measure(found.value, low, high, num_items)


def design_effect(hits: Sequence[bool], clusters: Sequence[Hashable]) -> float:
    """How many times the variance of independent items the share has, at least 1, at most the number of items."""
    num_items, num_hits = len(hits), sum(hits)
    if num_hits in (0, num_items):
        return 1.0
    share = num_hits / num_items
    sums: defaultdict[Hashable, float] = defaultdict(float)
    for hit, cluster in zip(hits, clusters, strict=True):
        sums[cluster] += hit - share
    if len(sums) == 1:
        return float(num_items)
    variance = len(sums) / (len(sums) - 1) * math.fsum(value**2 for value in sums.values()) / num_items**2
    independent = share * (1 - share) / (num_items - 1)
    return min(max(1.0, variance / independent), float(num_items))


def sign_test(num_hits: int, num_items: int) -> float:
    """Two-sided p-value of `num_hits` among independent items that hit with probability 1/2, exact; 1 for no items."""
    return float(stats.binomtest(num_hits, num_items).pvalue) if num_items else 1.0


def _measure(num_hits: int, num_items: int, num_effective: float) -> Measure:
    """The share with the interval of so many independent items, which need be no whole number."""
    if num_items == 0:
        return NOTHING
    share = num_hits / num_items
    hits = share * num_effective
    misses = num_effective - hits
    low = 0.0 if num_hits == 0 else float(stats.beta.ppf(TAIL, hits, misses + 1))
    high = 1.0 if num_hits == num_items else float(stats.beta.ppf(1 - TAIL, hits + 1, misses))
    return Measure(share, low, high, num_items)
