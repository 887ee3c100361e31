"""Do 95 % intervals hold the truth, and does a test at 5 % err in 5 %? Small simulations; the large ones are
recipes/statistics_simulation.py, and their tables stand in docs/statistics.md.

A share of n repetitions has the binomial error sqrt(p (1 - p) / n): each bound is four of these away from what is
claimed, so that a right procedure fails once in 15,000 seeds, and the wrong one that stands beside it fails the bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest

from apl_bench.statistics import estimate, holm, seed_means, sign_flip_p
from apl_bench.statistics.estimates import Estimate, t_interval
from apl_bench.statistics.labels import efficiency, saved_to_fixed_target
from apl_bench.statistics.ranks import MIN_SEEDS, rank_intervals, t_test_p
from apl_bench.statistics.simulation import Luck, outcomes

NUM = 400
NUM_PROMPTS = 128


def least(claimed: float, num: int) -> float:
    """The smallest share that a procedure which does what it claims would show."""
    return claimed - 4 * math.sqrt(claimed * (1 - claimed) / num)


def most(claimed: float, num: int) -> float:
    return claimed + 4 * math.sqrt(claimed * (1 - claimed) / num)


def estimates(luck: Luck, num_seeds: int) -> Iterator[Estimate]:
    rng = np.random.default_rng(num_seeds)
    for _ in range(NUM):
        yield estimate(outcomes(np.array([[0.6]]), luck, num_seeds, NUM_PROMPTS, rng)[0, 0])


@pytest.mark.parametrize("num_seeds", [3, 10])
@pytest.mark.parametrize(
    "luck", [Luck(seed=0.05), Luck(seed=0.02, prompt=0.3), Luck(prompt=0.3)], ids=["seeds", "both", "prompts"]
)
def test_intervals_of_win_rates_hold_the_truth(luck: Luck, num_seeds: int) -> None:
    found = [one.interval for one in estimates(luck, num_seeds)]
    assert np.mean([low <= 0.6 <= high for low, high in found]) >= least(0.95, NUM)


def test_the_error_over_seeds_alone_does_not_where_prompts_count() -> None:
    found = list(estimates(Luck(seed=0.02, prompt=0.3), 10))
    by_seeds = [t_interval(one.mean, one.se_seeds, one.num_seeds - 1) for one in found]
    assert np.mean([low <= 0.6 <= high for low, high in by_seeds]) < least(0.95, NUM)


def test_the_normal_quantile_does_not_where_seeds_are_few() -> None:
    found = list(estimates(Luck(seed=0.05), 3))
    by_normal = [t_interval(one.mean, one.se_two_way, math.inf) for one in found]
    assert np.mean([low <= 0.6 <= high for low, high in by_normal]) < least(0.95, NUM)


def test_degrees_of_freedom_are_those_of_the_term_that_rules() -> None:
    """Ten seeds that bring all the luck leave about nine; prompts that bring it all leave over a hundred."""
    by_seeds = np.median([one.df for one in estimates(Luck(seed=0.2), 10)])
    by_prompts = np.median([one.df for one in estimates(Luck(prompt=0.4), 10)])
    assert by_seeds == pytest.approx(9, abs=1.5)
    assert by_prompts > 80


def test_sign_flips_with_holm_err_in_any_of_five_at_most_in_5_percent() -> None:
    rng = np.random.default_rng(5)
    luck = Luck(seed=0.02, prompt=0.2, own_seed=0.03, cell=0.3)
    rejected = np.zeros(2)
    for _ in range(NUM):
        y_ARP = outcomes(np.full((6, 1), 0.6), luck, 9, 64, rng)[:, 0]
        p_values = [sign_flip_p(seed_means(y_RP - y_ARP[0])) for y_RP in y_ARP[1:]]
        rejected += np.array([min(holm(p_values)), min(p_values)]) <= 0.05
    corrected, uncorrected = rejected / NUM
    assert corrected <= most(0.05, NUM)
    assert uncorrected > most(0.05, NUM)


@pytest.mark.parametrize(("last", "saved"), [(0.80, 100.0), (0.70, 0.0), (0.64, -math.inf)])
def test_intervals_of_labels_saved_hold_the_truth_reached_or_not(last: float, saved: float) -> None:
    """Random ends at .7 of 300 labels; a straight line to .8 in as many is there after 200."""
    labels = np.array([0, 100, 200, 300])
    rates = np.array([np.linspace(0.5, last, 4), np.linspace(0.5, 0.7, 4)])
    rng = np.random.default_rng(7)
    num, held = 150, 0
    for _ in range(num):
        y_AWRP = outcomes(rates, Luck(seed=0.01, prompt=0.1, own_seed=0.02, cell=0.3), 6, 64, rng)
        found = efficiency(y_AWRP[0], y_AWRP[1], labels)
        assert found is not None
        assert found.saved.interval is not None
        low, high = found.saved.interval
        held += (low is None or low <= saved) and (saved < 0 if high is None else saved <= high)
    assert held / num >= least(0.95, num)


@pytest.mark.parametrize(("ours", "theirs"), [(0.80, 0.75), (0.75, 0.80), (0.80, 0.71), (0.80, 0.66)])
def test_intervals_of_labels_saved_for_a_stated_rate_hold_the_truth(ours: float, theirs: float) -> None:
    """Straight lines from .5 in 300 labels, and beyond what was bought: .7 of the last pair's second after 375."""
    labels = np.array([0, 100, 200, 300])
    rates = np.array([np.linspace(0.5, last, 4) for last in (ours, theirs)])
    needed, needed_by_theirs = (300 * 0.2 / (last - 0.5) for last in (ours, theirs))
    rng, num, held = np.random.default_rng(13), 150, 0
    for _ in range(num):
        y_AWRP = outcomes(rates, Luck(seed=0.01, prompt=0.1, own_seed=0.02, cell=0.3), 6, 64, rng)
        found = saved_to_fixed_target(y_AWRP[0], y_AWRP[1], 0.7, labels)
        assert found is not None
        assert found.interval is not None
        low, high = found.interval
        saved = needed_by_theirs - needed
        held += (low is None or low <= saved) and (high is None or saved <= high)
    assert held / num >= least(0.95, num)


@pytest.mark.parametrize("num_seeds", [2, 3, MIN_SEEDS, 10])
def test_equals_are_not_put_ahead_of_each_other_by_few_seeds_either(num_seeds: int) -> None:
    rng, num, erred, uncut = np.random.default_rng(17), 100, 0, 0
    luck = Luck(prompt=0.1, own_seed=0.03)
    for _ in range(num):
        y_ARP = outcomes(np.full((8, 1), 0.72), luck, num_seeds, 512, rng)[:, 0]
        erred += any((one.best, one.worst) != (1, 8) for one in rank_intervals(list(y_ARP)))
        if num_seeds == 2:
            uncut += min(holm([t_test_p(estimate(ours - theirs)) for ours, theirs in combinations(y_ARP, 2)])) <= 0.05
    assert erred / num <= most(0.05, num)
    assert num_seeds > 2 or uncut / num > most(0.05, num)  # what is refused below six seeds would have failed


@pytest.mark.parametrize(
    ("rates", "true"),
    [
        ((0.60, 0.60, 0.65, 0.70, 0.70), [(4, 5), (4, 5), (3, 3), (1, 2), (1, 2)]),
        ((0.65,) * 5, [(1, 5)] * 5),  # ten pairs, none of which differs
    ],
)
def test_ranks_hold_together(rates: tuple[float, ...], true: list[tuple[int, int]]) -> None:
    """All five at once: no equal one is put ahead of another, and no worse one of a better."""
    rng, num, held = np.random.default_rng(11), 200, 0
    luck = Luck(seed=0.02, prompt=0.2, own_seed=0.02, own_prompt=0.1)
    for _ in range(num):
        found = rank_intervals(list(outcomes(np.array(rates)[:, None], luck, 6, NUM_PROMPTS, rng)[:, 0]))
        held += all(one.best <= low and high <= one.worst for one, (low, high) in zip(found, true, strict=True))
    assert held / num >= least(0.95, num)
