"""Log-probabilities equal those of full logits, and depend on nothing but their own sequence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apl_bench.engine import scoring
from apl_bench.engine.head import Head
from apl_bench.engine.network import Network
from tests.engine import tiny

NETWORK = tiny.network()
SEQUENCES = tiny.sequences(40)
ALL = scoring.logp(NETWORK, SEQUENCES)


def naive(network: Network, sequences: scoring.Sequences) -> list[float]:
    """One sequence at a time, from the logits of every position."""
    values = []
    for prompt, completion in zip(sequences.prompts, sequences.completions, strict=True):
        with torch.no_grad():
            logp = network.model(torch.tensor([[*prompt, *completion]])).logits[0].double().log_softmax(-1)
        values.append(sum(logp[len(prompt) - 1 + place, token].item() for place, token in enumerate(completion)))
    return values


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_equal_to_full_logits(kind: str) -> None:
    network, sequences = tiny.network(kind), tiny.sequences(12)
    np.testing.assert_allclose(scoring.logp(network, sequences), naive(network, sequences), rtol=1e-5, atol=1e-4)


@settings(max_examples=25)
@given(rows=st.lists(st.integers(0, 39), min_size=1, max_size=40, unique=True))
def test_a_value_does_not_depend_on_the_others(rows: list[int]) -> None:
    assert np.array_equal(scoring.logp(NETWORK, SEQUENCES.take(rows)), ALL[rows])


def long_sequences(num: int) -> scoring.Sequences:
    """Four completions of 1 to 100 tokens for each of num / 4 prompts of 20 to 148."""
    rng = np.random.default_rng(8)
    prompts = [tiny.tokens(rng, 20 + 16 * (row % 9)) for row in range(num // 4)]
    completions = [tiny.tokens(rng, int(rng.integers(1, 101))) for _ in range(num)]
    return scoring.Sequences([prompts[row // 4] for row in range(num)], completions)


LONG = long_sequences(40)
LARGE = {kind: tiny.large_network(kind) for kind in ("llama", "gemma2")}
for _network in LARGE.values():
    _network.max_length = 300
ALL_LONG = {kind: scoring.logp(network, LONG) for kind, network in LARGE.items()}


@settings(max_examples=20)
@given(rows=st.lists(st.integers(0, 39), min_size=1, max_size=40, unique=True), kind=st.sampled_from(sorted(LARGE)))
def test_nor_does_a_large_models(rows: list[int], kind: str) -> None:
    assert np.array_equal(scoring.logp(LARGE[kind], LONG.take(rows)), ALL_LONG[kind][rows])


@pytest.mark.parametrize("kind", sorted(LARGE))
@pytest.mark.parametrize("budget", [1, 300])
def test_nor_on_the_budget(kind: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LARGE[kind].budgets.scoring, "num_tokens", budget)
    assert np.array_equal(scoring.logp(LARGE[kind], LONG), ALL_LONG[kind])


@pytest.mark.parametrize("kind", sorted(LARGE))
def test_completions_of_many_lengths_behind_one_prompt(kind: str) -> None:
    np.testing.assert_allclose(ALL_LONG[kind], naive(LARGE[kind], LONG), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("budget", [1, 100, 1_000_000])
def test_a_value_does_not_depend_on_the_budget(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NETWORK.budgets.scoring, "num_tokens", budget)
    assert np.array_equal(scoring.logp(NETWORK, SEQUENCES), ALL)


def test_the_head_sees_completion_positions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = tiny.sequences(30)
    seen: list[int] = []
    original = Head.logits

    def logits(head: Head, hidden: torch.Tensor) -> torch.Tensor:
        seen.append(len(hidden))
        return original(head, hidden)

    monkeypatch.setattr(Head, "logits", logits)
    scoring.logp(NETWORK, sequences)
    num_completion = sum(map(len, sequences.completions))
    fed = {(-(-len(prompt) // 4), -(-len(completion[:-1]) // 4))
           for prompt, completion in zip(sequences.prompts, sequences.completions, strict=True)}  # fmt: skip
    assert num_completion <= sum(seen) <= num_completion + 16 * 12 * len(fed)  # each group is filled up to 16 rows


def test_an_empty_completion_is_certain() -> None:
    assert scoring.logp(NETWORK, scoring.Sequences([(5, 6), (7,)], [(), (3,)]))[0] == 0.0


def test_nothing_to_score() -> None:
    assert scoring.logp(NETWORK, scoring.Sequences([], [])).shape == (0,)


def test_each_prompt_runs_once_and_only_its_completions_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network()
    fed = tiny.fed_shapes(network, monkeypatch)
    prompts = [tiny.tokens(np.random.default_rng(seed), 20) for seed in range(3)]
    rng = np.random.default_rng(9)
    completions = [tiny.tokens(rng, 9 if row % 2 else 17) for row in range(24)]
    scoring.logp(network, scoring.Sequences([prompts[row % 3] for row in range(24)], completions))
    assert fed == [(3, 20), (12, 8), (12, 16)]  # completions without their last tokens, each length by itself
