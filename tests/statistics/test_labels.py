"""Labels to a rate and labels saved: by hand, with what is not reached, and the draws behind their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.statistics import estimate
from apl_bench.statistics.curves import draw_means
from apl_bench.statistics.labels import Efficiency, crossing, efficiency, saved_to_fixed_target, to_fixed_target
from apl_bench.statistics.simulation import Luck, outcomes

LABELS = np.array([0, 100, 200])


def reached(curve: list[float], target: float) -> float:
    return float(crossing(np.array([curve]), np.array([target]), LABELS)[0])


@pytest.mark.parametrize(
    ("curve", "target", "labels"),
    [
        ([0.5, 0.6, 0.8], 0.7, 150),  # half of the way from .6 to .8
        ([0.5, 0.6, 0.8], 0.6, 100),
        ([0.5, 0.6, 0.8], 0.8, 200),
        ([0.5, 0.6, 0.8], 0.5, 0),
        ([0.5, 0.6, 0.8], 0.4, 0),
        ([0.5, 0.9, 0.6], 0.7, 50),  # the first time counts
        ([0.5, 0.6, 0.8], 0.81, math.inf),
    ],
)
def test_a_curve_is_straight_between_waypoints(curve: list[float], target: float, labels: float) -> None:
    assert reached(curve, target) == pytest.approx(labels)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, 1), st.floats(0, 0.5))
def test_a_higher_target_never_needs_fewer_labels(curve: list[float], target: float, more: float) -> None:
    assert reached(curve, target) <= reached(curve, target + more)


def made(*rates: list[float], num_seeds: int = 8, seed: int = 0) -> np.ndarray:
    luck = Luck(seed=0.01, prompt=0.05, own_seed=0.01)
    return outcomes(np.array(rates), luck, num_seeds, 200, np.random.default_rng(seed))


def saved_by(ours: list[float], theirs: list[float], num_seeds: int = 8) -> Efficiency | None:
    y_AWRP = made(ours, theirs, num_seeds=num_seeds)
    return efficiency(y_AWRP[0], y_AWRP[1], LABELS)


def test_saved_is_what_random_spent_less_what_was_needed() -> None:
    ours, theirs = made([0.5, 0.8, 0.9], [0.5, 0.6, 0.7])
    found = efficiency(ours, theirs, LABELS)
    assert found is not None
    assert found.to_target.target == pytest.approx(estimate(theirs[-1]).mean)
    assert found.to_target.num_labels is not None
    assert found.saved.num_labels == pytest.approx(200 - found.to_target.num_labels)
    assert found.saved.interval is not None
    low, high = found.saved.interval
    assert low is not None
    assert high is not None
    assert low < 200 - 100 * 2 / 3 < high  # the truth: .7 is reached after two thirds of the first hundred
    assert not found.saved.censored


def test_what_is_not_reached_is_open_and_never_a_number() -> None:
    found = saved_by([0.5, 0.5, 0.5], [0.5, 0.6, 0.8])
    assert found is not None
    assert found.saved.num_labels is found.to_target.num_labels is None
    assert found.saved.censored
    assert found.saved.interval == found.to_target.interval == (None, None)


def test_where_it_may_or_may_not_be_reached_one_end_is_open() -> None:
    found = saved_by([0.5, 0.66, 0.72], [0.5, 0.6, 0.71])
    assert found is not None
    assert found.to_target.interval is not None
    low, high = found.to_target.interval
    assert low is not None
    assert high is None
    assert found.saved.interval is not None
    assert found.saved.interval[0] is None
    assert found.saved.interval[1] == pytest.approx(200 - low)


def test_one_seed_has_a_number_and_no_interval() -> None:
    found = saved_by([0.5, 0.8, 0.9], [0.5, 0.6, 0.7], num_seeds=1)
    assert found is not None
    assert found.saved.num_labels is not None
    assert found.saved.interval is None


def test_a_missing_rate_has_nothing_to_reach() -> None:
    ours, theirs = made([0.5, 0.8, 0.9], [0.5, 0.6, 0.7])
    theirs[-1, 0] = math.nan
    assert efficiency(ours, theirs, LABELS) is None


def test_a_stated_target_has_no_luck_of_its_own() -> None:
    (ours,) = made([0.5, 0.6, 0.8])
    found = to_fixed_target(ours, 0.7, LABELS)
    assert found is not None
    assert found.target == 0.7
    assert found.num_labels == pytest.approx(150, abs=25)


STEEP, MIDDLE, FLAT = [0.5, 0.8, 0.9], [0.5, 0.6, 0.8], [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("ours", "theirs", "at_least", "at_most"),
    [
        (STEEP, MIDDLE, 150 - 100 * 2 / 3, 150 - 100 * 2 / 3),  # .7 after two thirds of a hundred, and after 150
        (MIDDLE, STEEP, 100 * 2 / 3 - 150, 100 * 2 / 3 - 150),
        (STEEP, FLAT, 200 - 100 * 2 / 3, None),  # random needs more than 200, nobody knows how many
        (FLAT, STEEP, None, 100 * 2 / 3 - 200),
        (FLAT, FLAT, None, None),
    ],
)
def test_saved_for_a_stated_target_is_what_random_needs_less_what_was_needed(
    ours: list[float], theirs: list[float], at_least: float | None, at_most: float | None
) -> None:
    y_AWRP = made(ours, theirs, num_seeds=12)
    found = saved_to_fixed_target(y_AWRP[0], y_AWRP[1], 0.7, LABELS)
    assert found is not None
    assert found.interval is not None
    assert found.at_least == (at_least if at_least is None else pytest.approx(at_least, abs=15))
    assert found.at_most == (at_most if at_most is None else pytest.approx(at_most, abs=15))
    assert found.censored is (found.num_labels is None) is (at_least is None or at_least != at_most)
    low, high = found.interval
    assert (low is None) is (at_least is None)
    assert (high is None) is (at_most is None)
    assert low is None or at_least is None or low < at_least  # the truth lies within
    assert high is None or at_most is None or at_most < high


def test_saving_is_the_others_loss() -> None:
    ours, theirs = made(STEEP, MIDDLE)
    there, back = (saved_to_fixed_target(*pair, 0.7, LABELS) for pair in ((ours, theirs), (theirs, ours)))
    assert there is not None
    assert back is not None
    assert there.num_labels == pytest.approx(-(back.num_labels or 0))


def test_one_seed_saves_without_an_interval() -> None:
    ours, theirs = made(STEEP, MIDDLE, num_seeds=1)
    found = saved_to_fixed_target(ours, theirs, 0.7, LABELS)
    assert found is not None
    assert found.num_labels is not None
    assert found.interval is None


def test_everybody_gets_the_same_digits_and_others_for_other_data() -> None:
    y_DRP = made([0.5, 0.6, 0.8])[0]
    first, again = draw_means(y_DRP, 50), draw_means(y_DRP.copy(), 50)
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.draws_BD, again.draws_BD)
    y_DRP[0, 0, 0] = 1 - y_DRP[0, 0, 0]
    other = draw_means(y_DRP, 50)
    assert other is not None
    assert not np.allclose(first.draws_BD - first.mean_D, other.draws_BD - other.mean_D)


@pytest.mark.parametrize(
    ("luck", "num_seeds"),
    [
        (Luck(seed=0.03), 12),
        (Luck(prompt=0.25), 12),
        (Luck(seed=0.02, prompt=0.2, cell=0.5), 12),
        (Luck(seed=0.1), 3),  # where t is more than twice as wide as the normal
    ],
)
def test_draws_spread_as_the_reported_errors_do(luck: Luck, num_seeds: int) -> None:
    """At each waypoint the draws' middle 95 % is the interval that stands there, but for the noise of 20,000 draws and
    the floor of the error where a term comes out negative."""
    y_WRP = outcomes(np.array([[0.6, 0.65]]), luck, num_seeds, 400, np.random.default_rng(3))[0]
    draws = draw_means(y_WRP, 20_000)
    assert draws is not None
    for column, y_RP in zip(draws.draws_BD.T, y_WRP, strict=True):
        low, high = estimate(y_RP).interval
        found = np.quantile(column, [0.025, 0.975])
        assert found == pytest.approx([low, high], abs=0.1 * (high - low))
