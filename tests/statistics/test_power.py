"""Power of a paired t-test: against closed forms, a simulation, and its own inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apl_bench.power import (
    critical_t,
    detectable_difference,
    fewest_for_sign_flips,
    power,
    prompts_sd,
    seeds_needed,
    smallest_sign_flip_p,
)
from apl_bench.statistics import sign_flip_p


def test_critical_values_are_those_of_every_table() -> None:
    found = [round(critical_t(df), 3) for df in (1, 2, 5, 9, 30)]
    assert found == [12.706, 4.303, 2.571, 2.262, 2.042]


def test_power_is_the_share_of_simulated_experiments_that_reject() -> None:
    rng, n, difference = np.random.default_rng(0), 10, 0.03
    draws = rng.normal(difference, 0.03, size=(40_000, n))
    t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / math.sqrt(n))
    share = float((np.abs(t) > critical_t(n - 1)).mean())
    assert power(n, difference, 0.03) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / len(draws)))


def test_without_a_difference_power_is_alpha_and_one_seed_has_none() -> None:
    assert power(7, 0.0, 0.02) == pytest.approx(0.05, abs=1e-9)
    assert power(1, 1.0, 0.02) == 0
    assert detectable_difference(1, 0.02) is None


@given(st.integers(2, 40), st.floats(1e-4, 1))
@settings(max_examples=15)
def test_the_detectable_difference_is_found_with_the_power_wanted(num_seeds: int, sd: float) -> None:
    found = detectable_difference(num_seeds, sd)
    assert found is not None
    assert power(num_seeds, found, sd) == pytest.approx(0.8, abs=1e-6)
    assert detectable_difference(num_seeds, 10 * sd) == pytest.approx(10 * found, rel=1e-6)


@pytest.mark.parametrize(("difference", "sd"), [(0.01, 0.0297), (0.02, 0.0297), (0.02, 0.0181)])
def test_the_seeds_needed_are_the_fewest(difference: float, sd: float) -> None:
    num = seeds_needed(difference, sd)
    assert num is not None
    assert power(num, difference, sd) >= 0.8 > power(num - 1, difference, sd)


def test_fewer_than_six_seeds_cannot_be_significant_and_are_never_enough() -> None:
    assert [smallest_sign_flip_p(num) for num in (1, 2, 5, 6)] == [1.0, 0.5, 0.0625, 0.03125]
    for num in range(1, 8):
        assert sign_flip_p(np.linspace(1, 2, num)) == smallest_sign_flip_p(num)
    assert fewest_for_sign_flips() == 6
    assert seeds_needed(1.0, 0.001) == 6
    assert seeds_needed(1e-6, 1.0) is None


def test_luck_of_the_prompts() -> None:
    """p = 1/2: each outcome has variance 1/4, a difference of two means of 512 has 2 * (1/4) / 512 = 1/1024."""
    assert prompts_sd(0.5, 512) == pytest.approx(1 / 32)
