"""Equations 4-10 against numbers worked out by hand, and their laws."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from apl_bench.objective import (
    certainty,
    dpo_loss,
    gradient_weight,
    implicit_reward,
    predictive_entropy,
    preference_probability,
)

REWARDS = arrays(float, 5, elements=st.floats(-50, 50))
LOGPS = arrays(float, (3, 4), elements=st.floats(-100, 0))


def test_implicit_reward_of_a_doubled_probability_is_beta_log_2() -> None:
    reward = implicit_reward(np.log([0.5, 0.25]), np.log([0.25, 0.25]), beta=0.2)
    np.testing.assert_allclose(reward, [0.2 * math.log(2), 0.0])


def test_dpo_loss_by_hand() -> None:
    # sigmoid(log 3) = 3/4
    margin = math.log(3)
    np.testing.assert_allclose(
        dpo_loss(np.array([0.0, margin, 0.0]), np.array([0.0, 0.0, margin])),
        [math.log(2), math.log(4 / 3), math.log(4)],
    )


def test_gradient_weight_is_large_where_the_prediction_is_confidently_wrong() -> None:
    weight = gradient_weight(np.array([0.0, math.log(9)]), np.array([math.log(9), 0.0]))
    np.testing.assert_allclose(weight, [0.9, 0.1])


def test_probability_by_hand_and_without_overflow() -> None:
    probability = preference_probability(np.array([math.log(3), 0.0, 1e4, -1e4]), np.array([0.0, 0.0, 0.0, 0.0]))
    np.testing.assert_allclose(probability, [0.75, 0.5, 1.0, 0.0])


def test_entropy_averages_over_the_samples_of_each_prompt_alone() -> None:
    # "Where public code goes wrong", 2: the mean over the wrong axis mixes prompts
    entropy = predictive_entropy(np.array([[-1.0, -3.0, -2.0], [-10.0, -20.0, -30.0]]))
    np.testing.assert_allclose(entropy, [2.0, 20.0])


def test_a_flatter_distribution_has_the_larger_entropy() -> None:
    # "Where public code goes wrong", 1: two words, p = 1/2 against p = 0.99, one sample of each word
    flat, peaked = [math.log(0.5)] * 2, [math.log(0.99), math.log(0.01)]
    weights = np.array([0.99, 0.01])
    samples = np.array([flat * 50, [peaked[0]] * 99 + [peaked[1]]])
    entropy = predictive_entropy(samples)
    np.testing.assert_allclose(entropy, [math.log(2), -(weights * np.log(weights)).sum()])
    assert entropy[0] > entropy[1] > 0


@given(LOGPS)
def test_entropy_is_not_negative(logp_SN: np.ndarray) -> None:
    assert (predictive_entropy(logp_SN) >= 0).all()


@given(REWARDS, REWARDS)
def test_exchanging_the_two_completions(first: np.ndarray, second: np.ndarray) -> None:
    np.testing.assert_array_equal(certainty(first, second), certainty(second, first))
    np.testing.assert_allclose(preference_probability(first, second) + preference_probability(second, first), 1.0)


@given(REWARDS, REWARDS)
def test_the_loss_is_minus_the_log_of_the_probability_and_falls_by_the_weight(
    first: np.ndarray, second: np.ndarray
) -> None:
    np.testing.assert_allclose(np.exp(-dpo_loss(first, second)), preference_probability(first, second), atol=1e-12)
    step = 1e-5
    slope = (dpo_loss(first + step, second) - dpo_loss(first - step, second)) / (2 * step)
    np.testing.assert_allclose(-slope, gradient_weight(first, second), atol=1e-5)


def test_certainty_is_the_size_of_the_margin() -> None:
    assert certainty(np.array([1.0, -2.0]), np.array([3.0, -2.0])).tolist() == [2.0, 0.0]


def test_rewards_work_on_tensors_as_well() -> None:
    import torch

    reward = implicit_reward(torch.tensor([1.0]), torch.tensor([-1.0]), 0.5)
    assert reward.tolist() == [1.0]
