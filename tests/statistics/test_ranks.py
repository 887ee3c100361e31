"""Ranks: who is ahead of whom, and what cannot be told."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apl_bench.leaderboard import crosschecks
from apl_bench.power import fewest_for_sign_flips
from apl_bench.statistics import estimate
from apl_bench.statistics.ranks import MIN_SEEDS, Rank, rank_intervals, t_test_p
from apl_bench.statistics.simulation import Luck, outcomes


def made(*rates: float, num_seeds: int = 10) -> list[np.ndarray]:
    luck = Luck(seed=0.01, prompt=0.1, own_seed=0.005)
    return list(outcomes(np.array(rates)[:, None], luck, num_seeds, 500, np.random.default_rng(0))[:, 0])


def test_far_apart_is_ranked_and_near_is_tied() -> None:
    assert rank_intervals(made(0.60, 0.75, 0.601)) == [Rank(2, 3, (2,)), Rank(1, 1, ()), Rank(2, 3, (0,))]


@pytest.mark.parametrize("num_seeds", [1, 2, MIN_SEEDS - 1])
def test_few_seeds_separate_nobody(num_seeds: int) -> None:
    assert rank_intervals(made(0.3, 0.8, num_seeds=num_seeds)) == [Rank(1, 2, (1,)), Rank(1, 2, (0,))]


def test_few_are_those_with_which_no_exact_test_is_significant() -> None:
    assert rank_intervals(made(0.3, 0.8, num_seeds=MIN_SEEDS)) == [Rank(2, 2, ()), Rank(1, 1, ())]
    assert fewest_for_sign_flips() == MIN_SEEDS == crosschecks.MIN_SEEDS


def test_one_strategy_and_none() -> None:
    assert rank_intervals(made(0.6)) == [Rank(1, 1, ())]
    assert rank_intervals([]) == []


def test_equal_to_the_last_cell_is_a_tie() -> None:
    y_RP = made(0.6)[0]
    assert rank_intervals([y_RP, y_RP.copy()]) == [Rank(1, 2, (1,)), Rank(1, 2, (0,))]


@given(st.permutations(range(4)))
@settings(max_examples=10)
def test_the_order_in_which_strategies_come_does_not_matter(order: list[int]) -> None:
    arrays = made(0.60, 0.75, 0.601, 0.68)
    plain, turned = rank_intervals(arrays), rank_intervals([arrays[i] for i in order])
    assert [(turned[order.index(i)].best, turned[order.index(i)].worst) for i in range(4)] == [
        (rank.best, rank.worst) for rank in plain
    ]


def test_the_t_test_by_hand() -> None:
    # two seeds on one prompt: differences .1 and .3, mean .2, SE .1, t = 2 with one df: p = 1 - 2 atan(2) / pi
    found = estimate(np.array([[0.1], [0.3]]))
    assert t_test_p(found) == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert math.isnan(t_test_p(estimate(np.array([[0.1, 0.3]]))))
