"""Completions that share their prompt's tokens get what they would get in rows of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apl_bench.engine import scoring, shared
from apl_bench.engine.attention import Packing
from apl_bench.engine.lora import Adapters, LoraNetwork
from apl_bench.engine.network import Network
from apl_bench.engine.shared import Group
from apl_bench.spec import LoraSpec
from tests.engine import tiny

SHARING = ("gpt2", "llama", "neox", "granite", "cohere")
MAKERS = {"padded": tiny.network, "packed": tiny.large_network}
NETWORKS = {(kind, rows): make(kind) for kind in SHARING for rows, make in MAKERS.items()}


def groups(rng: np.random.Generator, num: int) -> list[Group]:
    """Prompts of 1 to 12 tokens with 1 to 4 completions of 0 to 9."""
    return [
        Group(
            tiny.tokens(rng, int(rng.integers(1, 13))),
            tuple(tiny.tokens(rng, int(rng.integers(0, 10))) for _ in range(rng.integers(1, 5))),
        )
        for _ in range(num)
    ]


def logp_and_gradient(network: Network, some: Sequence[Group]) -> tuple[np.ndarray, torch.Tensor]:
    """Log-probabilities, and the gradient of a sum that weights each differently, as one vector."""
    network.model.zero_grad()
    logp = shared.logp_of_groups(network, some)
    (logp * torch.linspace(-1.0, 2.0, len(logp))).sum().backward()  # type: ignore[no-untyped-call]
    grads = [weight.grad for weight in network.parameters.values() if weight.grad is not None]
    return logp.detach().numpy(), torch.cat([grad.flatten() for grad in grads])


def alone(network: Network) -> Network:
    """The same network, which repeats the prompt for each completion."""
    twin = network.copy(("twin",))
    twin.__dict__["shares_prompts"] = False
    return twin


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_which_models_share(kind: str, make: Callable[[str], Network]) -> None:
    assert make(kind).shares_prompts == (kind in SHARING)


def test_large_models_on_a_cpu_pack_where_the_attention_is_ours() -> None:
    model = tiny.llama()
    model.set_attn_implementation("eager")
    theirs = Network(model, mixed=False)
    theirs.is_small = False
    assert [network.packs for network in (tiny.network(), tiny.large_network(), theirs)] == [False, True, False]


def test_a_model_that_cannot_state_positions_does_not_share(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network()
    monkeypatch.setattr(network, "takes_positions", False)
    assert not network.shares_prompts


def test_a_model_that_gives_something_else_does_not_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one would whose attention ignored the mask."""
    network = tiny.network()
    original = network.hidden
    monkeypatch.setattr(network, "hidden", lambda ids, **_: original(ids))
    assert not network.shares_prompts


@pytest.mark.parametrize("rows", MAKERS)
@pytest.mark.parametrize("kind", SHARING)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), num=st.integers(1, 6))
def test_log_probabilities_and_gradients_are_those_of_rows_apart(kind: str, rows: str, seed: int, num: int) -> None:
    network, some = NETWORKS[kind, rows], groups(np.random.default_rng(seed), num)
    some.append(Group((5, 6), ((7, 8),)))  # never all empty
    logp, gradient = logp_and_gradient(network, some)
    expected_logp, expected_gradient = logp_and_gradient(alone(network), some)
    np.testing.assert_allclose(logp, expected_logp, rtol=0, atol=1e-4)
    assert (gradient - expected_gradient).norm() <= 1e-6 * expected_gradient.norm()


@pytest.mark.parametrize("kind", SHARING)
def test_a_packed_group_does_not_see_its_neighbours(kind: str) -> None:
    network, some = NETWORKS[kind, "packed"], groups(np.random.default_rng(5), 3)
    others = groups(np.random.default_rng(6), 2)
    with torch.no_grad():
        among = shared.logp_of_groups(network, [others[0], *some, others[1]])
        num_before = len(others[0].completions)
        found = among[num_before : len(among) - len(others[1].completions)]
        torch.testing.assert_close(found, shared.logp_of_groups(network, some), rtol=0, atol=1e-5)


def test_adapters_train_in_packed_rows() -> None:
    model = tiny.llama()
    theta_0 = LoraNetwork(model, False, Adapters(model, LoraSpec(2, 4, ("q_proj", "v_proj"))), None)
    theta_0.is_small = False
    network, some = theta_0.copy(("packed",)), groups(np.random.default_rng(8), 5)
    assert network.packs
    with torch.no_grad():
        for weight in network.parameters.values():
            weight.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(0))
    logp, gradient = logp_and_gradient(network, some)
    network.__dict__["shares_prompts"] = False
    expected_logp, expected_gradient = logp_and_gradient(network, some)
    np.testing.assert_allclose(logp, expected_logp, rtol=0, atol=1e-4)
    assert (gradient - expected_gradient).norm() <= 1e-6 * expected_gradient.norm()


def test_packed_rows_in_half_precision() -> None:
    network, some = Network(tiny.llama(), mixed=True), groups(np.random.default_rng(9), 5)
    network.is_small = False
    logp, gradient = logp_and_gradient(network, some)
    expected_logp, expected_gradient = logp_and_gradient(alone(network), some)
    np.testing.assert_allclose(logp, expected_logp, rtol=0.02, atol=0.2)
    assert (gradient - expected_gradient).norm() <= 0.05 * expected_gradient.norm()


def test_a_layer_that_changes_the_mask_has_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one would that attends to fewer tokens than it may."""
    network, some = tiny.large_network("llama"), groups(np.random.default_rng(10), 4)
    expected = shared.logp_of_groups(network, some).detach()
    original = network.hidden

    def with_a_mask_of_its_own(ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
        inputs["attention_mask"] = torch.eye(ids.shape[1], dtype=torch.bool)[None, None]
        return original(ids, **inputs)

    monkeypatch.setattr(network, "hidden", with_a_mask_of_its_own)
    assert not torch.allclose(shared.logp_of_groups(network, some).detach(), expected, atol=0.1)


def test_a_model_that_drops_the_packing_goes_by_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    network, some = tiny.large_network("llama"), groups(np.random.default_rng(7), 4)
    expected = shared.logp_of_groups(network, some).detach()
    original = network.hidden

    def without_packing(ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
        assert inputs.pop("packing").lengths == tuple(group.length for group in some)
        return original(ids, **inputs)

    monkeypatch.setattr(network, "hidden", without_packing)
    torch.testing.assert_close(shared.logp_of_groups(network, some).detach(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_training_and_scoring_give_the_same(kind: str, make: Callable[[str], Network]) -> None:
    network, some = make(kind), groups(np.random.default_rng(3), 9)
    apart = shared.apart(some)
    sequences = scoring.Sequences([one.prompt for one in apart], [one.completions[0] for one in apart])
    with torch.no_grad():
        found = shared.logp_of_groups(network, some).numpy()
    np.testing.assert_allclose(found, scoring.logp(network, sequences), rtol=0, atol=1e-4)


def test_rows_by_hand() -> None:
    batch = shared.SharedBatch.of(
        [[Group((1, 2), ((3, 4, 5), (6,), (7, 8)))], [Group((9,), ((), (10, 11)))]], torch.device("cpu")
    )
    assert batch.ids_RL.tolist() == [[1, 2, 3, 4, 7], [9, 10, 1, 1, 1]]
    assert batch.position_RL.tolist() == [[0, 1, 2, 3, 2], [0, 1, 0, 0, 0]]
    assert batch.segment_RL.tolist() == [[0, 0, 1, 1, 3], [0, 2, -1, -1, -1]]
    assert batch.prompt_RL.tolist() == [[0] * 5] * 2
    assert batch.predicted_at_N.tolist() == [1, 2, 3, 1, 1, 4, 5, 6]
    assert batch.tokens_N.tolist() == [3, 4, 5, 6, 7, 8, 10, 11]
    assert batch.completion_N.tolist() == [0, 0, 0, 1, 2, 2, 4, 4]
    assert batch.num_completions == 5
    assert batch.mask_R1LL[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1],
    ]  # fmt: skip


def test_a_packed_row_by_hand() -> None:
    some = [Group((1, 2), ((3, 4, 5), (6,))), Group((9,), ((10, 11), (12, 13)))]
    batch = shared.SharedBatch.of([some], torch.device("cpu"))
    assert batch.ids_RL.tolist() == [[1, 2, 3, 4, 9, 10, 12]]
    assert batch.position_RL.tolist() == [[0, 1, 2, 3, 0, 1, 1]]
    assert batch.segment_RL.tolist() == [[0, 0, 1, 1, 3, 4, 5]]
    assert batch.prompt_RL.tolist() == [[0, 0, 0, 0, 3, 3, 3]]
    assert batch.predicted_at_N.tolist() == [1, 2, 3, 1, 4, 5, 4, 6]
    assert batch.tokens_N.tolist() == [3, 4, 5, 6, 10, 11, 12, 13]
    assert batch.completion_N.tolist() == [0, 0, 0, 1, 2, 2, 3, 3]
    assert batch.mask_R1LL[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 0, 1],
    ]  # fmt: skip
    packing = Packing.of(batch.mask_R1LL, [4, 3])
    assert packing.lengths == (4, 3)
    assert (packing.masks[1] == 0).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert packing.masks[0].isneginf().sum() == 6
