"""DPO training: equation 4, micro-batches that change nothing, and what training leaves alone."""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apl_bench.engine import dpo, scoring, shared
from apl_bench.engine.network import Network
from apl_bench.objective import dpo_loss, implicit_reward
from apl_bench.randomness import stream
from tests.engine import tiny


def token_pairs(network: Network, num: int) -> dpo.TokenPairs:
    """Pairs of different lengths whose reference is the network as it stands."""
    first, second = tiny.sequences(num, seed=1), tiny.sequences(num, seed=2)
    sides = (first.completions, second.completions)
    reference = [scoring.logp(network, scoring.Sequences(first.prompts, side)) for side in sides]
    return dpo.TokenPairs(first.prompts, *sides, *reference)


def gradient_of(network: Network) -> torch.Tensor:
    """All weights' gradients as one vector."""
    found = [weight.grad for weight in network.parameters.values()]
    assert all(grad is not None for grad in found)
    return torch.cat([grad.flatten() for grad in found if grad is not None])


def test_losses_by_hand() -> None:
    """A policy equal to its reference has a loss of log 2; moving the reference by d moves the margin by beta d."""
    network = tiny.network()
    pairs = token_pairs(network, 3)
    with torch.no_grad():
        np.testing.assert_allclose(dpo.pair_losses(network, pairs, 0.2).numpy(), math.log(2), atol=1e-5)
        worse = dpo.TokenPairs(
            pairs.prompts, pairs.chosen, pairs.rejected, pairs.reference_chosen + 5.0, pairs.reference_rejected
        )
        expected = math.log(1 + math.exp(0.2 * 5.0))
        np.testing.assert_allclose(dpo.pair_losses(network, worse, 0.2).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("make", [tiny.network, tiny.large_network])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "neox"])
def test_micro_batches_change_no_gradient(kind: str, make: Callable[[str], Network]) -> None:
    network = make(kind)
    pairs = token_pairs(network, 9)
    found = []
    for budget in (1_000_000, 150, 1):
        network.training_budget.num_tokens = budget
        found.append((dpo.compute_gradient(network, pairs, 0.2), gradient_of(network)))
    assert len(dpo.micro_batches(pairs, network)) == 9
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], abs=1e-6)
        assert (gradient - found[0][1]).norm() <= 1e-6 * found[0][1].norm()


@pytest.mark.parametrize("kind", ["gpt2", "gemma2"])
def test_micro_batches_lose_no_pair_and_respect_the_budget(kind: str) -> None:
    network = tiny.network(kind)
    pairs = token_pairs(network, 20)
    costs = [shared.num_padded(network, group) for group in pairs.groups]
    network.training_budget.num_tokens = 120
    runs = dpo.micro_batches(pairs, network)
    assert sorted(row for run in runs for row in run) == list(range(20))
    assert len(runs) > 1
    sizes = [len(run) * max(costs[row] for row in run) for run in runs]
    assert all(size <= 120 or len(run) == 1 for size, run in zip(sizes, runs, strict=True))


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=30), limit=st.integers(1, 120))
def test_even_runs_lose_nothing_and_respect_the_limit(sizes: list[int], limit: int) -> None:
    runs = dpo.evenly(sizes, limit)
    assert sorted(item for run in runs for item in run) == list(range(len(sizes)))
    loads = [sum(sizes[item] for item in run) for run in runs]
    assert all(run for run in runs)
    assert all(load <= limit or len(run) == 1 for load, run in zip(loads, runs, strict=True))
    assert max(loads) - min(loads) <= max(sizes)
    assert len(runs) >= sum(min(size, limit) for size in sizes) / limit


def test_packed_micro_batches_are_few_and_even() -> None:
    assert dpo.evenly([30, 10, 20, 40, 20], 60) == [[3, 4], [0, 2, 1]]
    assert dpo.evenly([1000, 10, 10, 10], 100) == [[0], [1, 2, 3]]  # one that is too large makes no more of the rest
    network = tiny.large_network("llama")
    pairs = token_pairs(network, 12)
    sizes = [group.length for group in pairs.groups]
    network.training_budget.num_tokens = max(sizes) * 3
    runs = dpo.micro_batches(pairs, network)
    assert len(runs) == -(-sum(sizes) // (max(sizes) * 3))


@pytest.mark.parametrize("make", [tiny.network, tiny.large_network])
def test_moments_that_are_there_from_the_start_are_torchs_own(make: Callable[[str], Network]) -> None:
    """Three updates as torch makes them, its moments made in the first."""
    weights = []
    for fresh in (False, True):
        network = make("llama")
        pairs = token_pairs(network, 5)
        optimizer = dpo.new_optimizer(network, tiny.training())
        if fresh:
            optimizer.state.clear()
        for _ in range(3):
            dpo.update(network, pairs, tiny.training(), optimizer)
        weights.append(torch.cat([weight.detach().flatten() for weight in network.parameters.values()]))
    assert torch.equal(*weights)


def test_a_large_models_gradients_and_moments_are_made_before_the_first_pass() -> None:
    """What lay between them would be room that no later pass could use in one piece."""
    network = tiny.large_network()
    optimizer = dpo.new_optimizer(network, tiny.training())
    assert len(optimizer.state) == len(network.parameters)
    pairs = token_pairs(network, 4)
    kept = {weight: weight.grad for weight in network.parameters.values()}
    assert all(grad is not None for grad in kept.values())
    dpo.update(network, pairs, tiny.training(), optimizer)
    assert all(weight.grad is grad for weight, grad in kept.items())


def test_a_micro_batchs_graph_is_gone_before_the_next_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network()
    pairs = token_pairs(network, 4)
    network.training_budget.num_tokens = 1
    graphs: list[weakref.ref[Marker]] = []
    original = dpo.pair_losses

    def pair_losses(network: Network, part: dpo.TokenPairs, beta: float) -> torch.Tensor:
        assert all(graph() is None for graph in graphs)
        marker = Marker()
        graphs.append(weakref.ref(marker))
        marked: torch.Tensor = Marked.apply(original(network, part, beta), marker)  # type: ignore[no-untyped-call]
        return marked

    monkeypatch.setattr(dpo, "pair_losses", pair_losses)
    dpo.compute_gradient(network, pairs, 0.2)
    assert len(graphs) == 4


class Marker:
    """Something that lives as long as the graph that holds it."""


class Marked(torch.autograd.Function):
    """The same numbers, and a marker in the graph."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, marker: Marker) -> torch.Tensor:
        ctx.marker = marker
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        del ctx
        return grads[0], None


def test_order_is_the_streams_and_every_pair_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network()
    pairs = token_pairs(network, 7)
    batches: list[list[float]] = []
    original = dpo.update

    def spy(network: Network, batch: dpo.TokenPairs, *rest: object) -> float:
        batches.append(batch.reference_chosen.tolist())
        return original(network, batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(dpo, "update", spy)
    report = dpo.train(network, pairs, tiny.training(batch_size=3, epochs=2), (5, "order"))
    assert [len(batch) for batch in batches] == [3, 3, 1, 3, 3, 1]
    for epoch in range(2):
        seen = [value for batch in batches[3 * epoch : 3 * epoch + 3] for value in batch]
        assert seen == pairs.reference_chosen[stream(5, "order", "epoch", epoch).permutation(7)].tolist()
    assert report.num_updates == 6
    assert report.num_tokens == 2 * pairs.num_tokens
    assert report.epoch_losses[1] < report.epoch_losses[0]


def test_tokens_by_hand() -> None:
    nothing = np.zeros(2)
    assert dpo.TokenPairs([(1, 2), (3,)], [(4,), (5, 6)], [(7, 8, 9), (1,)], nothing, nothing).num_tokens == 6 + 3 + 4


def test_gradients_are_clipped_in_norm() -> None:
    """With a rate of 1 and plain descent in place of Adam, the step's length is the clipped norm."""
    network = tiny.network()
    pairs = token_pairs(network, 4)
    before = [weight.detach().clone() for weight in network.parameters.values()]
    descent = torch.optim.SGD(network.parameters.values(), lr=1.0)
    dpo.update(network, pairs, tiny.training(max_grad_norm=1e-3), descent)
    moved = [after.detach() - old for after, old in zip(network.parameters.values(), before, strict=True)]
    assert math.sqrt(sum(float((step**2).sum()) for step in moved)) == pytest.approx(1e-3, rel=1e-2)


def test_divergence_is_said() -> None:
    network = tiny.network()
    pairs = token_pairs(network, 4)
    with torch.no_grad():
        next(iter(network.parameters.values())).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"gradient's norm is nan.*training\.learning_rate"):
        dpo.train(network, pairs, tiny.training(), ("diverges",))


def test_dropout_is_off() -> None:
    """A model whose config asks for dropout trains as one without."""
    found = []
    for dropout in (0.0, 0.5):
        network = Network(tiny.gpt2(dropout).train(), mixed=False)
        pairs = token_pairs(network, 5)
        found.append((dpo.train(network, pairs, tiny.training(), ("dropout",)), network.parameters))
    assert found[0][0] == found[1][0]
    for name, weight in found[0][1].items():
        assert torch.equal(weight, found[1][1][name])


def test_the_training_loss_is_equation_4() -> None:
    network = tiny.network()
    same = token_pairs(network, 5)
    shift = np.array([0.0, 3.0, -2.0, 7.0, -40.0])
    pairs = dataclasses.replace(same, reference_chosen=same.reference_chosen - shift)
    chosen, rejected = (
        scoring.logp(network, scoring.Sequences(pairs.prompts, side)) for side in (pairs.chosen, pairs.rejected)
    )
    won = implicit_reward(chosen, pairs.reference_chosen, 0.2)
    lost = implicit_reward(rejected, pairs.reference_rejected, 0.2)
    found = dpo.pair_losses(network, pairs, 0.2).detach().numpy()
    assert found == pytest.approx(dpo_loss(won, lost), abs=1e-5)
    assert found == pytest.approx(np.log1p(np.exp(-0.2 * shift)), abs=1e-5)
