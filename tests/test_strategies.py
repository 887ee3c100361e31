"""Each acquisition function against an answer by hand, and the conformance kit over the whole registry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.checks import check_strategy
from apl_bench.protocols import Strategy
from apl_bench.randomness import stream
from apl_bench.registry import STRATEGIES, without_plugins
from apl_bench.strategies.certainty import Certainty
from apl_bench.strategies.entropy import Entropy
from apl_bench.strategies.entropy_certainty import EntropyCertainty
from apl_bench.strategies.mid import Mid
from apl_bench.strategies.offline import Offline
from apl_bench.strategies.tails import Tails
from apl_bench.strategies.uncertainty import Uncertainty
from apl_bench.strategies.uniform import Random
from apl_bench.types import PairIndex
from tests.fakes import TablePolicy, constant, pool, prompt_pool, prompts, table_pool

with without_plugins():
    NAMES = STRATEGIES.names()

# margins r(first) - r(second): 3, -5, 1, -2, 4
MARGINS = ((3.0, 0.0), (0.0, 5.0), (2.0, 1.0), (1.0, 3.0), (4.0, 0.0))


def rows(strategy: Strategy, num: int, seed: int = 0) -> list[int]:
    acquisition = strategy.select(table_pool(MARGINS), num, stream("test", seed))
    return [pair.prompt for pair in acquisition.pairs]


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_conforms(name: str) -> None:
    assert check_strategy(STRATEGIES.load(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_says_what_the_class_says(name: str) -> None:
    assert STRATEGIES.entry(name).summary == STRATEGIES.load(name).summary


@pytest.mark.parametrize(
    ("strategy", "best_first"),
    [
        (Certainty(), [1, 4, 0, 3, 2]),
        (Uncertainty(), [2, 3, 0, 4, 1]),
        (Mid(), [0, 3, 4, 2, 1]),
        (Tails(), [1, 2, 4, 3, 0]),
    ],
)
def test_margins_by_hand(strategy: Strategy, best_first: list[int]) -> None:
    assert [rows(strategy, num) for num in range(6)] == [best_first[:num] for num in range(6)]


@given(st.lists(st.floats(-9, 9).map(lambda value: (value, 0.0)), min_size=1, max_size=12), st.integers(0, 99))
def test_tails_and_mid_are_windows_of_the_ordered_margins(margins: list[tuple[float, float]], seed: int) -> None:
    sizes = sorted(abs(first) for first, _ in margins)
    for num in range(len(sizes) + 1):
        ends = sizes[: num // 2] + sizes[len(sizes) - (num - num // 2) :]
        start = (len(sizes) - num) // 2
        for strategy, window in ((Tails(), ends), (Mid(), sizes[start : start + num])):
            pairs = strategy.select(table_pool(margins), num, stream(seed)).pairs
            assert sorted(abs(margins[pair.prompt][0]) for pair in pairs) == window


@given(st.lists(st.integers(-40, 40), min_size=1, max_size=10, unique_by=abs))
def test_uncertainty_is_bradley_terry_entropy_and_least_confidence(margins: list[int]) -> None:
    # the aliases `sharp`, `bt-entropy` and `least-confidence`: one order (sigmoid(-10) still differs from 0)
    table = [(margin / 4, 0.0) for margin in margins]
    p_first = [1 / (1 + math.exp(-first)) for first, _ in table]
    entropy = [-p * math.log(p) - (1 - p) * math.log(1 - p) for p in p_first]
    confidence = [max(p, 1 - p) for p in p_first]
    chosen = [pair.prompt for pair in Uncertainty().select(table_pool(table), len(table), stream(0)).pairs]
    assert chosen == sorted(range(len(table)), key=lambda row: -entropy[row])
    assert chosen == sorted(range(len(table)), key=lambda row: confidence[row])


@pytest.mark.parametrize("alias", ["sharp", "bt-entropy", "least-confidence"])
def test_aliases_of_uncertainty(alias: str) -> None:
    assert STRATEGIES.load(alias) is Uncertainty


def test_certainty_chooses_which_two_of_three_completions() -> None:
    candidates = table_pool([[0.0, 1.0, 5.0], [2.0, 2.5, 2.0]])
    pairs = Certainty().select(candidates, 3, stream(0)).pairs
    assert pairs == (PairIndex(0, 0, 2), PairIndex(0, 1, 2), PairIndex(0, 0, 1))


def test_entropy_takes_the_flattest_and_draws_no_completions_of_the_others() -> None:
    # "Where public code goes wrong", 1
    candidates = table_pool(MARGINS, entropy_S=(1.0, 9.0, 4.0, 2.0, 7.0))
    acquisition = Entropy().select(candidates, 2, stream(0))
    assert [pair.prompt for pair in acquisition.pairs] == [1, 4]
    assert acquisition.scores == (1.0, 9.0, 4.0, 2.0, 7.0)
    candidates.pairs(acquisition.pairs)
    assert set(candidates.drawn) == {1, 4}


def test_entropy_certainty_is_entropy_first_and_certainty_among_those() -> None:
    entropy = (1.0, 9.0, 4.0, 2.0, 7.0)
    theta, theta_0 = TablePolicy(MARGINS, entropy), TablePolicy([(0.0, 0.0)] * 5, entropy)
    drawn, strategy, rng = prompt_pool(theta, theta_0, prompts(5)), EntropyCertainty(), stream(0)
    kept = strategy.shortlist(drawn, 3, rng)
    assert kept == [1, 4, 2]
    candidates = drawn.candidates(kept)
    chosen = strategy.select(candidates, 2, rng).pairs
    assert [candidates.prompts[pair.prompt].id for pair in chosen] == ["p1", "p4"]
    assert strategy.oversample is None


@pytest.mark.parametrize("strategy", [Random(), Offline()])
def test_random_draws_completions_of_m_prompts_only(strategy: Strategy) -> None:
    candidates = pool(constant(1.0), constant(0.0), 20)
    acquisition = strategy.select(candidates, 4, stream(0))
    assert candidates.drawn == {}
    candidates.pairs(acquisition.pairs)
    assert len(candidates.drawn) == 4


def test_offline_is_random_with_completions_of_the_reference() -> None:
    assert (Random().samples_from, Offline().samples_from) == ("policy", "reference")
    assert rows(Random(), 3) == rows(Offline(), 3)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("random", "offline")])
def test_a_selection_can_be_recomputed_from_its_scores(name: str) -> None:
    candidates = table_pool(MARGINS, entropy_S=(1.0, 9.0, 4.0, 2.0, 7.0))
    acquisition = STRATEGIES.load(name)().select(candidates, 3, stream(5))
    perm = np.random.default_rng().permutation(5)  # any: no two scores are equal
    order = perm[np.argsort(-np.array(acquisition.scores)[perm], kind="stable")]
    assert acquisition.pairs == tuple(acquisition.scored[row] for row in order[:3])


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("entropy")])
def test_ties_at_step_1_are_broken_by_the_seed(name: str) -> None:
    # "Where public code goes wrong", 5: theta is theta_0, so that every margin is 0
    theta_0 = constant(0.5)
    picks = [
        [pair.prompt for pair in STRATEGIES.load(name)().select(pool(theta_0, theta_0, 30), 5, stream(seed)).pairs]
        for seed in range(5)
    ]
    assert len({frozenset(pick) for pick in picks}) == 5
    assert list(range(5)) not in [sorted(pick) for pick in picks]
