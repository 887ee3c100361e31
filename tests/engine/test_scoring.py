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


@pytest.mark.parametrize("budget", [1, 100, 1_000_000])
def test_a_value_does_not_depend_on_the_budget(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "TOKEN_BUDGET", {"cpu": budget})
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
    num_groups = len({length // 4 for length in sequences.lengths}) + 1
    assert num_completion <= sum(seen) <= num_completion + 16 * num_groups


def test_an_empty_completion_is_certain() -> None:
    assert scoring.logp(NETWORK, scoring.Sequences([(5, 6), (7,)], [(), (3,)]))[0] == 0.0


def test_nothing_to_score() -> None:
    assert scoring.logp(NETWORK, scoring.Sequences([], [])).shape == (0,)


def test_where_tokens_are_predicted_by_hand() -> None:
    batch = scoring.Batch.of(scoring.Sequences([(1, 2), (3,)], [(4, 5), (6,)]), 4, torch.device("cpu"))
    assert batch.ids_RL.tolist() == [[1, 2, 4, 1], [3, 3, 3, 3]]
    assert batch.positions_N.tolist() == [1, 2, 4]
    assert batch.tokens_N.tolist() == [4, 5, 6]
    assert batch.rows_N.tolist() == [0, 0, 1]
