"""Win rates and errors against numbers derived by hand, against laws, and against a simulation of their coverage."""

from __future__ import annotations

import math
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from apl_bench.statistics import (
    area_under_curve,
    estimate,
    paired_difference,
    se_seeds,
    se_two_way,
    sign_flip_p,
    sign_flips,
    win_rate,
)

NAN = math.nan

outcomes = arrays(float, st.tuples(st.integers(2, 6), st.integers(2, 12)), elements=st.sampled_from([0.0, 0.5, 1.0]))
differences = st.lists(st.sampled_from([-0.5, -0.2, -0.01, 0.0, 0.1, 0.3]), min_size=1, max_size=9)


def test_a_tie_is_half_and_an_invalid_verdict_counts_for_nothing() -> None:
    assert win_rate(np.array([[1, 0, 0.5, NAN]])) == 0.5
    # seeds weigh the same, however many of their verdicts are valid: (1/1 + 1/3) / 2
    assert win_rate(np.array([[1, NAN, NAN], [1, 0, 0]])) == pytest.approx(2 / 3)


def test_a_seed_without_a_valid_verdict_makes_the_rate_missing_not_zero() -> None:
    assert math.isnan(win_rate(np.array([[NAN, NAN], [1, 0]])))


def test_se_seeds_by_hand() -> None:
    # seed rates 1, .5, .75: mean .75, squared deviations .0625 + .0625 + 0, / 2 = .0625; sd .25, / sqrt 3
    y_RP = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 0, 1.0]])
    assert se_seeds(y_RP) == pytest.approx(0.25 / math.sqrt(3))
    assert math.isnan(se_seeds(y_RP[:1]))


def test_se_two_way_by_hand() -> None:
    # Rates of seeds 1, 1/2, of prompts 1, 1/2; mean 3/4. Cells' influence (y - 3/4) / 4: 1/16, 1/16; 1/16, -3/16.
    # Seed sums 1/8, -1/8: var_seed = 2/64 * 2 = 1/16; prompts alike: var_prompt = 1/16.
    # Left over after both main effects: -1/16, 1/16; 1/16, -1/16: var_cell = 4/256 * 2 * 2 = 1/16.
    # 1/16 + 1/16 - 1/16 = 1/16
    assert se_two_way(np.array([[1.0, 1.0], [1.0, 0.0]])) == pytest.approx(0.25)


def test_se_two_way_adds_what_seeds_and_prompts_bring_when_they_do_not_interact() -> None:
    # y = a_r + b_p exactly, so that var_cell is 0: the variance is that of the seeds' mean plus that of the prompts'.
    # sd of (0, .2, .4) is .2: .04 / 3. sd of (0, .1, .5, .2): mean .2, squares .04 + .01 + .09 = .14, / 3 / 4.
    y_RP = np.array([0, 0.2, 0.4])[:, None] + np.array([0, 0.1, 0.5, 0.2])[None, :]
    assert se_two_way(y_RP) == pytest.approx(math.sqrt(0.04 / 3 + 0.14 / 12))


def test_with_one_seed_the_error_is_over_prompts_and_with_one_prompt_over_seeds() -> None:
    # 3 of 4: sample variance .25, / 4 prompts
    one = np.array([[1, 1, 1, 0.0]])
    assert se_two_way(one) == pytest.approx(0.25)
    assert se_two_way(one.T) == pytest.approx(se_seeds(one.T))
    assert math.isnan(se_two_way(np.array([[1.0]])))


def test_an_invalid_cell_is_left_out_of_the_error() -> None:
    # (1, 0, 1) of one seed: rate 2/3, squares 1/9 + 4/9 + 1/9 = 2/3. Influence divides by 3 valid prompts; the
    # cluster correction counts 4 prompts: 2/3 / 9 * 4/3 = 8/81.
    assert se_two_way(np.array([[1, 0, 1, NAN]])) == pytest.approx(math.sqrt(8 / 81))


@given(outcomes)
def test_se_two_way_is_never_below_either_one_way_error(y_RP: np.ndarray) -> None:
    by_seed, by_prompt = se_seeds(y_RP), se_seeds(y_RP.T)
    assert se_two_way(y_RP) >= max(by_seed, by_prompt) - 1e-12
    assert se_two_way(y_RP) == pytest.approx(se_two_way(y_RP.T))


@given(outcomes, st.randoms())
def test_the_order_of_seeds_and_prompts_does_not_matter(y_RP: np.ndarray, random: Random) -> None:
    rows, columns = list(range(y_RP.shape[0])), list(range(y_RP.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    before, after = estimate(y_RP), estimate(y_RP[rows][:, columns])
    assert after.mean == pytest.approx(before.mean)
    assert after.se_two_way == pytest.approx(before.se_two_way)


def test_a_difference_is_paired_by_cell() -> None:
    # seed differences (1 - 1 + 0 - 0) = 0 and (1 + 0 + 0 + 0) / 4 = .25; the invalid cell of the baseline leaves a
    # third seed (1, 0, 0) / 3
    y_RP = np.array([[1, 0, 0, 1], [1, 1, 0, 1], [1, 0, 1, 1]])
    baseline_RP = np.array([[0, 1, 0, 1], [0, 1, 0, 1], [0, 0, 1, NAN]])
    found = paired_difference(y_RP, baseline_RP)
    assert found.estimate.mean == pytest.approx((0 + 1 / 4 + 1 / 3) / 3)
    assert found.sd_seeds == pytest.approx(np.std([0, 1 / 4, 1 / 3], ddof=1))
    assert found.p_value == 0.5  # signs of the two that are not 0: 2 of 4 settings are as far out


@given(outcomes)
def test_a_strategy_differs_from_itself_by_nothing(y_RP: np.ndarray) -> None:
    found = paired_difference(y_RP, y_RP)
    assert found.estimate.mean == found.estimate.se_two_way == found.sd_seeds == 0
    assert found.p_value == 1


def test_unaligned_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(1, 3\)"):
        paired_difference(np.zeros((2, 3)), np.zeros((1, 3)))


def test_sign_flip_by_hand() -> None:
    assert sign_flip_p(np.array([0.1, 0.2, 0.3])) == 2 / 8  # only all + and all -
    assert sign_flip_p(np.array([0.3, 0.2, -0.1])) == 4 / 8  # |sum| .4: +++ .6, ++- .4, and their negatives
    assert sign_flip_p(np.full(10, 0.01)) == 2 / 1024
    assert math.isnan(sign_flip_p(np.array([0.1, NAN])))


@given(differences)
def test_sign_flip_equals_the_full_enumeration(values: list[float]) -> None:
    by_seed = np.array(values)
    flips = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in product((1, -1), repeat=len(values))
    ]
    expected = np.mean([flip >= abs(sum(values)) - 1e-9 for flip in flips])
    assert sign_flip_p(by_seed) == pytest.approx(expected)


def test_beyond_exact_the_digits_are_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    by_seed = np.random.default_rng(0).normal(0.02, 0.05, size=12)
    exact = sign_flip_p(by_seed)
    monkeypatch.setattr(sign_flips, "NUM_FLIPS", 2_000)
    assert sign_flip_p(by_seed) == sign_flip_p(by_seed.copy())
    # 2,000 draws of a share of about .1: four binomial errors are 4 * sqrt(.1 * .9 / 2000) = .027
    assert sign_flip_p(by_seed) != exact
    assert sign_flip_p(by_seed) == pytest.approx(exact, abs=0.03)


def test_sixteen_seeds_are_exact_and_more_have_a_floor() -> None:
    assert sign_flip_p(np.full(16, 0.5)) == 2 / 2**16
    # of 99,999 random flips of 40 signs none is as far out, and the data's own counts in both tails: 2 * 1 / 100,000
    assert sign_flip_p(np.full(40, 0.5)) == pytest.approx(2e-5)


def test_area_by_hand() -> None:
    # .5 to .7 over 100 labels, then .7 to .8 over 300: (.6 * 100 + .75 * 300) / 400
    y_WRP = np.array([[[0.5, 0.5]], [[0.7, 0.7]], [[0.8, NAN]]])
    np.testing.assert_allclose(area_under_curve(y_WRP, [0, 100, 400]), [[0.7125, NAN]])


@pytest.mark.parametrize("labels", [[], [64], [0, 64, 64], [64, 0]])
def test_no_area_without_increasing_waypoints(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="at least two, increasing"):
        area_under_curve(np.zeros((len(labels), 1, 1)), labels)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=6, unique=True), st.floats(0, 1))
def test_the_area_under_a_flat_curve_is_its_height(labels: list[int], height: float) -> None:
    flat_WRP = np.full((len(labels), 1, 1), height)
    assert area_under_curve(flat_WRP, sorted(labels)).item() == pytest.approx(height)


def test_two_way_covers_where_the_error_over_seeds_does_not() -> None:
    """Prompts are shared by the seeds and differ a lot: 95 % intervals of ten seeds x 128 prompts, 1,000 times."""
    rng = np.random.default_rng(1)
    num_seeds, num_prompts, truth = 10, 128, 0.7
    covered = np.zeros(2)
    for _ in range(1000):
        luck_RP = rng.normal(0, 0.02, (num_seeds, 1)) + rng.choice([-0.25, 0.25], (1, num_prompts))
        y_RP = (rng.random((num_seeds, num_prompts)) < truth + luck_RP).astype(float)
        found = estimate(y_RP)
        errors = np.array([found.se_two_way, found.se_seeds])
        covered += np.abs(found.mean - truth) <= 1.96 * errors
    two_way, seeds = covered / 1000
    assert 0.93 <= two_way <= 0.98
    assert seeds < 0.85
