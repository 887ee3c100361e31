"""Intervals against exact sums and printed tables, and how often they cover."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.health.intervals import clustered_share, design_effect, exact_share, sign_test

# Intervals


def tail(num: int, hits: int, share: Fraction) -> Fraction:
    """P(X >= hits) of a binomial, exactly."""
    return sum((math.comb(num, k) * share**k * (1 - share) ** (num - k) for k in range(hits, num + 1)), Fraction(0))


@given(st.integers(1, 40).flatmap(lambda num: st.tuples(st.just(num), st.integers(0, num))))
def test_an_interval_ends_where_the_exact_test_rejects(counts: tuple[int, int]) -> None:
    num, hits = counts
    found = exact_share(hits, num)
    assert found.low <= found.value == hits / num <= found.high
    if hits:
        assert float(tail(num, hits, Fraction(found.low))) == pytest.approx(0.025, abs=1e-9)
    if hits < num:
        assert float(1 - tail(num, hits + 1, Fraction(found.high))) == pytest.approx(0.025, abs=1e-9)


def test_intervals_that_books_print() -> None:
    assert exact_share(45, 50).low == pytest.approx(0.7819, abs=5e-5)
    assert exact_share(45, 50).high == pytest.approx(0.9667, abs=5e-5)
    assert exact_share(0, 10).high == pytest.approx(0.3085, abs=5e-5)  # 1 - .025^(1/10)
    assert exact_share(10, 10).low == pytest.approx(0.6915, abs=5e-5)
    assert (exact_share(0, 10).low, exact_share(10, 10).high) == (0, 1)
    assert math.isnan(exact_share(0, 0).value)
    with pytest.raises(ValueError, match="3 of 2"):
        exact_share(3, 2)


def test_a_judge_asked_twice_about_fifty_pairs_has_a_wide_interval() -> None:
    """Figure 1 of the paper: 50 pairs, asked twice."""
    found = exact_share(43, 50)
    assert found.high - found.low == pytest.approx(0.21, abs=0.01)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_sign_test_is_exact(hits: int, misses: int) -> None:
    num = hits + misses
    expected = min(Fraction(1), 2 * tail(num, max(hits, misses), Fraction(1, 2)))
    assert sign_test(hits, num) == pytest.approx(float(expected), rel=1e-9)


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_one_item_a_cluster_is_the_plain_interval(hits: list[bool]) -> None:
    found, plain = clustered_share(hits, range(len(hits))), exact_share(sum(hits), len(hits))
    assert found.low == pytest.approx(plain.low, abs=1e-9)
    assert found.high == pytest.approx(plain.high, abs=1e-9)


def test_what_is_said_six_times_is_said_once() -> None:
    hits = [True] * 30 + [False] * 10
    found = clustered_share(hits * 6, list(range(40)) * 6)
    assert found.num_items == 240
    assert found.value == 0.75
    # by hand: 40/39 * 40 * 36 * .1875 / 240^2 over .1875 / 239 = 239/39; 240 * 39/239 = 39.2 effective items
    assert design_effect(hits * 6, list(range(40)) * 6) == pytest.approx(239 / 39)
    assert exact_share(29, 39).low < found.low < exact_share(30, 40).low
    assert clustered_share([True] * 240, list(range(40)) * 6).low == pytest.approx(exact_share(40, 40).low)
    assert clustered_share([False] * 240, list(range(40)) * 6).high == pytest.approx(exact_share(0, 40).high)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_no_share_is_told_to_be_surer_than_none(items: list[tuple[bool, int]]) -> None:
    hits, clusters = zip(*items, strict=True)
    found = clustered_share(hits, clusters)
    none = clustered_share([False] * len(hits), clusters)
    assert found.low <= found.value <= found.high
    assert found.high >= none.high


def test_clustered_intervals_cover_where_plain_ones_do_not() -> None:
    """Forty prompts of six pairs; a prompt's pairs share a chance drawn from Beta(.7, .3): the mean is 0.7."""
    rng = np.random.default_rng(1)
    covered, plain, num = 0, 0, 300
    clusters = np.repeat(np.arange(40), 6)
    for _ in range(num):
        hits = rng.random(240) < np.repeat(rng.beta(0.7, 0.3, 40), 6)
        found, naive = clustered_share(hits.tolist(), clusters.tolist()), exact_share(int(hits.sum()), 240)
        covered += found.low <= 0.7 <= found.high
        plain += naive.low <= 0.7 <= naive.high
    assert covered / num > 0.92
    assert plain / num < 0.75
