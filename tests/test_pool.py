"""What a strategy sees: features in closed form, each computed once, for no more prompts than were asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.checks.toys import NUM_TOKENS, different
from apl_bench.pool import CandidatePool, Models
from apl_bench.strategies.uniform import Random
from apl_bench.types import Completion, PairIndex, Preference, Prompt
from tests.fakes import (
    BOUNDS,
    SETTINGS,
    FakePolicy,
    TablePolicy,
    constant,
    pool,
    prompt_pool,
    prompts,
    table_pool,
)

GOOD, BAD = Completion(" good" * 4, (1,) * 4, finished=False), Completion(" bad" * 4, (0,) * 4, finished=False)


def test_entropy_of_undecided_and_of_certain_prompts_is_exact() -> None:
    # every sample of a fair coin has log-probability -16 log 2, and every sample of a certain policy 0.
    # Averaged over different prompts ("Where public code goes wrong", 2) both would have 8 log 2.
    theta = FakePolicy(lambda prompt, num: np.full(num, 0.0 if prompt.id == "p0" else 40.0))
    np.testing.assert_allclose(pool(theta, theta, 2).entropy_S, [NUM_TOKENS * math.log(2), 0.0], atol=1e-12)


def test_entropy_orders_prompts_as_the_exact_entropy_does() -> None:
    theta = FakePolicy(lambda prompt, num: np.full(num, float(prompt.id[1:])))
    estimate = pool(theta, theta, 6).entropy_S
    exact = [theta.entropy(prompt, NUM_TOKENS) for prompt in prompts(6)]
    assert exact == sorted(exact, reverse=True)
    assert np.corrcoef(estimate, exact)[0, 1] > 0.9
    assert (estimate >= 0).all()


@given(st.permutations(range(4)))
def test_a_prompt_has_the_same_entropy_and_completions_in_any_company(order: list[int]) -> None:
    theta = FakePolicy(lambda prompt, num: np.linspace(-1, 1, num) + float(prompt.id[1:]))
    rows = prompts(4)
    together = prompt_pool(theta, constant(0.0), [rows[row] for row in order]).candidates(range(4))
    for place, row in enumerate(order):
        alone = prompt_pool(theta, constant(0.0), [rows[row]]).candidates([0])
        assert together.completions_SK[place] == alone.completions_SK[0]
        assert together.entropy_S[place] == alone.entropy_S[0]
        assert together.reward_SK[place].tolist() == alone.reward_SK[0].tolist()


def test_rewards_by_hand() -> None:
    # theta says " good" with 3/4, theta_0 with 1/2: four of them are 4 log(3/2), four " bad" are 4 log(1/2)
    candidates = pool(constant(math.log(3)), constant(0.0), 1)
    rewards = candidates.reward(prompts(1) * 2, [GOOD, BAD])
    np.testing.assert_allclose(rewards, [4 * math.log(1.5), 4 * math.log(0.5)])


def test_margins_are_exactly_zero_where_theta_is_theta_0() -> None:
    # "Where public code goes wrong", 5
    theta_0 = constant(0.3)
    candidates = pool(theta_0, theta_0, 8)
    assert candidates.margin(candidates.all_pairs).tolist() == [0.0] * 8


def test_margins_are_signed_and_log_ratios_are_rewards_without_beta() -> None:
    candidates = table_pool([[1.0, 4.0], [2.0, 0.5]])
    pairs = [PairIndex(0, 0, 1), PairIndex(0, 1, 0), PairIndex(1, 0, 1)]
    assert candidates.margin(pairs).tolist() == [-3.0, 3.0, 1.5]
    assert candidates.margin([]).tolist() == []
    assert candidates.log_ratio_SK.tolist() == [[1.0, 4.0], [2.0, 0.5]]


def test_every_pair_of_three_completions() -> None:
    candidates = table_pool([[1.0, 2.0, 4.0]] * 2)
    assert candidates.all_pairs == [
        PairIndex(row, *columns) for row in range(2) for columns in ((0, 1), (0, 2), (1, 2))
    ]
    assert candidates.margin(candidates.all_pairs[:3]).tolist() == [-1.0, -3.0, -2.0]
    assert candidates.length_SK.tolist() == [[1, 1, 1]] * 2


def test_only_the_prompts_that_are_asked_for_are_drawn() -> None:
    theta = TablePolicy([[0.0, 1.0]] * 5, [0.0] * 5)
    candidates = pool(theta, theta, 5)
    pairs = candidates.pairs([PairIndex(3, 1, 0), PairIndex(1, 0, 1)])
    assert [(pair.prompt.id, pair.first.text, pair.second.text) for pair in pairs] == [
        ("p3", " 1", " 0"),
        ("p1", " 0", " 1"),
    ]
    assert set(candidates.drawn) == {1, 3}
    assert candidates.pairs([PairIndex(1, 0, 1)]) == pairs[1:]
    assert (theta.num_sampled, candidates.meter.num_generated) == (4, 4)


def test_features_are_computed_once() -> None:
    theta, theta_0 = (TablePolicy([[0.0, 1.0]] * 3, [1.0] * 3) for _ in range(2))
    candidates = pool(theta, theta_0, 3)
    for _ in range(2):
        _ = candidates.entropy_S, candidates.reward_SK, candidates.margin(candidates.all_pairs)
    assert (theta.num_sampled, theta.num_scored, theta_0.num_sampled, theta_0.num_scored) == (3 * 2 + 3 * 4, 0, 0, 6)


def test_theta_scores_what_it_did_not_draw() -> None:
    theta, theta_0 = TablePolicy([[3.0, 1.0]] * 2, [0.0] * 2), TablePolicy([[1.0, 1.0]] * 2, [0.0] * 2)
    drawn_by = {
        sampler: CandidatePool(prompts(2), Models(theta, theta_0, sampler), SETTINGS, lambda _prompt: BOUNDS)
        for sampler in (theta, theta_0)
    }
    for candidates in drawn_by.values():
        assert candidates.reward_SK.tolist() == [[2.0, 0.0]] * 2
    assert [drawn_by[sampler].meter.num_scored for sampler in (theta, theta_0)] == [4, 8]
    assert theta.num_scored == 4


def test_entropies_of_a_shortlist_are_kept() -> None:
    theta = TablePolicy([[0.0, 0.0]] * 3, [1.0, 2.0, 3.0])
    drawn = prompt_pool(theta, theta, prompts(3))
    _ = drawn.entropy_S
    before = theta.num_sampled
    assert drawn.candidates([2, 0]).entropy_S.tolist() == [3.0, 1.0]
    assert theta.num_sampled == before


def test_history_has_the_margin_of_what_was_chosen() -> None:
    theta = TablePolicy([[1.0, 4.0]], [0.0])
    theta_0 = TablePolicy([[0.5, 0.5]], [0.0])
    zero, one = (Completion(f" {k}", (k,), finished=True) for k in range(2))
    bought = [Preference(Prompt("p0", ""), one, zero, step=1), Preference(Prompt("p0", ""), zero, one, step=2)]
    assert pool(theta, theta_0, 1, labelled=bought).history.margin_L.tolist() == [3.0, -3.0]
    assert pool(theta, theta_0, 1).history.margin_L.tolist() == []


@pytest.mark.parametrize("sampler", ["policy", "reference"])
def test_completions_come_from_the_sampler_that_the_strategy_names(sampler: str) -> None:
    class Sampled(Random):
        samples_from = sampler  # type: ignore[assignment]

    scene = different(4)
    drawn = scene.pool(Sampled()).completions_SK
    flipped = type(scene)(scene.prompts, scene.theta_0, scene.theta, scene.labelled)
    swapped = "reference" if sampler == "policy" else "policy"
    other = type("Other", (Random,), {"samples_from": swapped})()
    assert drawn == flipped.pool(other).completions_SK
    assert drawn != flipped.pool(Sampled()).completions_SK
