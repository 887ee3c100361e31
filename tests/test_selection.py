"""Batch rules: what is taken, in which order, and how ties are broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.randomness import stream
from apl_bench.selection import best, bottom, median_distance, ranks, top, uniform
from apl_bench.types import PairIndex

SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=12).map(lambda items: np.array(items, dtype=float))
SEEDS = st.integers(0, 1000)


def rng(seed: int = 0) -> np.random.Generator:
    return stream("test", seed)


def test_top_and_bottom_of_distinct_scores() -> None:
    scores = np.array([0.5, -1.0, 2.0, 1.0])
    assert top(scores, 3, rng()).tolist() == [2, 3, 0]
    assert bottom(scores, 3, rng()).tolist() == [1, 0, 3]


@given(SCORES, SEEDS)
def test_the_order_is_the_documented_one(scores: np.ndarray, seed: int) -> None:
    perm = rng(seed).permutation(len(scores)).tolist()
    expected = sorted(perm, key=lambda row: -scores[row])  # Python's sort is stable
    assert top(scores, len(scores), rng(seed)).tolist() == expected


@given(SCORES, SEEDS, st.data())
def test_nothing_left_out_beats_what_was_taken(scores: np.ndarray, seed: int, data: st.DataObject) -> None:
    num = data.draw(st.integers(0, len(scores)))
    rows = top(scores, num, rng(seed)).tolist()
    rest = [scores[row] for row in range(len(scores)) if row not in rows]
    assert len(set(rows)) == num
    assert [scores[row] for row in rows] == sorted(scores, reverse=True)[:num]
    assert not rows or not rest or min(scores[row] for row in rows) >= max(rest)


def test_ties_are_broken_evenly_by_the_seed() -> None:
    # "Where public code goes wrong", 5: eight equal scores, each row first about 50 times of 400
    firsts = Counter(int(top(np.zeros(8), 1, rng(seed))[0]) for seed in range(400))
    assert set(firsts) == set(range(8))
    assert max(firsts.values()) < 90


@given(SCORES, SEEDS)
def test_ranks_are_places_in_ascending_order(values: np.ndarray, seed: int) -> None:
    places = ranks(values, rng(seed))
    assert sorted(places.tolist()) == list(range(len(values)))
    assert values[np.argsort(places)].tolist() == sorted(values)


@pytest.mark.parametrize(
    ("num_values", "nearest_first"),
    [(5, [2, 1, 3, 0, 4]), (4, [1, 2, 0, 3]), (1, [0]), (2, [0, 1])],
)
def test_median_distance_by_hand(num_values: int, nearest_first: list[int]) -> None:
    # the median's place less a quarter: 1.75 of five values, 1.25 of four
    distance = median_distance(np.arange(num_values) * 10.0, rng())
    assert np.argsort(distance).tolist() == nearest_first
    assert len(set(distance.tolist())) == num_values


@given(st.integers(1, 30), SEEDS)
def test_uniform_draws_different_rows(num: int, seed: int) -> None:
    rows = uniform(num, num // 2, rng(seed)).tolist()
    assert len(set(rows)) == num // 2
    assert set(rows) <= set(range(num))


def test_uniform_takes_every_row_equally_often() -> None:
    counts = Counter(row for seed in range(400) for row in uniform(8, 2, rng(seed)).tolist())
    assert set(counts) == set(range(8))
    assert max(counts.values()) < 140 and min(counts.values()) > 65  # noqa: PT018 - 100 each, sd 9


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("rule", [top, bottom])
def test_scores_that_are_not_finite_are_refused(rule: Callable[..., np.ndarray], bad: float) -> None:
    with pytest.raises(ValueError, match=r"1 of 3 scores are not finite, the first is .* at row 1"):
        rule(np.array([0.0, bad, 1.0]), 1, rng())


def test_more_rows_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="4 rows of 3 candidates asked for; expected 0 to 3"):
        top(np.zeros(3), 4, rng())
    with pytest.raises(ValueError, match="4 rows of 3 candidates"):
        uniform(3, 4, rng())


def test_best_keeps_all_scores_for_the_record() -> None:
    pairs = [PairIndex(row, 0, 1) for row in range(3)]
    acquisition = best(pairs, np.array([0.1, 0.3, 0.2]), 2, rng())
    assert acquisition.pairs == (pairs[1], pairs[2])
    assert dict(zip(acquisition.scored, acquisition.scores, strict=True)) == dict(
        zip(pairs, (0.1, 0.3, 0.2), strict=True)
    )
    with pytest.raises(ValueError, match="2 scores for 3 pairs"):
        best(pairs, np.zeros(2), 1, rng())
