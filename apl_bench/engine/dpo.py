"""Direct preference optimisation: equation 4, its gradient in micro-batches, and the updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from apl_bench.engine import shared
from apl_bench.engine.device import is_out_of_memory, to_device, too_large
from apl_bench.engine.network import Network
from apl_bench.objective import implicit_reward
from apl_bench.randomness import StreamName, stream
from apl_bench.spec import TrainingSpec
from apl_bench.types import TrainingReport


@dataclass(frozen=True, slots=True)
class TokenPairs:
    """n labelled pairs as token ids, with the reference's log-probabilities, shape (n,), nats."""

    prompts: Sequence[tuple[int, ...]]
    chosen: Sequence[tuple[int, ...]]
    rejected: Sequence[tuple[int, ...]]
    reference_chosen: np.ndarray
    reference_rejected: np.ndarray

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def num_tokens(self) -> int:
        """Tokens of all prompts and completions, a prompt counted with each of its two."""
        prompts = 2 * sum(map(len, self.prompts))
        return prompts + sum(map(len, self.chosen)) + sum(map(len, self.rejected))

    def take(self, rows: Sequence[int]) -> TokenPairs:
        """These pairs, in this order."""
        index = list(rows)
        sides = (self.prompts, self.chosen, self.rejected)
        prompts, chosen, rejected = ([side[row] for row in index] for side in sides)
        return TokenPairs(prompts, chosen, rejected, self.reference_chosen[index], self.reference_rejected[index])

    @property
    def groups(self) -> list[shared.Group]:
        """Each prompt with its chosen and its rejected completion."""
        triples = zip(self.prompts, self.chosen, self.rejected, strict=True)
        return [shared.Group(prompt, (chosen, rejected)) for prompt, chosen, rejected in triples]


def train(
    network: Network,
    pairs: TokenPairs,
    training: TrainingSpec,
    name: StreamName,
    after_epoch: Callable[[int, float], None] | None = None,
) -> TrainingReport:
    """Minimise the DPO loss over `pairs` by Adam, changing the network's weights.

    Each epoch's order is drawn from the stream (*name, "epoch", epoch); the last mini-batch may be smaller.
    `after_epoch` is told each epoch's number, from 1, and its mean loss. Raises FloatingPointError where a gradient is
    not finite.
    """
    optimizer = new_optimizer(network, training)
    epoch_losses, num_updates = [], 0
    for epoch in range(training.epochs):
        order = stream(*name, "epoch", epoch).permutation(len(pairs)).tolist()
        total = 0.0
        for start in range(0, len(pairs), training.batch_size):
            batch = pairs.take(order[start : start + training.batch_size])
            total += update(network, batch, training, optimizer) * len(batch)
            num_updates += 1
        epoch_losses.append(total / len(pairs))
        if after_epoch is not None:
            after_epoch(epoch + 1, epoch_losses[-1])
    optimizer.zero_grad()
    return TrainingReport(tuple(epoch_losses), num_updates, pairs.num_tokens * training.epochs)


def new_optimizer(network: Network, training: TrainingSpec) -> torch.optim.Optimizer:
    """Adam over all weights, its moments zero.

    They are made here, and a large model's gradients, not in the first update: what then lay between them comes and
    goes with each, and its room could not be used again in one piece.
    """
    weights = list(network.parameters.values())
    optimizer = torch.optim.Adam(
        weights,
        lr=training.learning_rate,
        betas=(training.adam_beta1, training.adam_beta2),
        eps=training.adam_epsilon,
        fused=True,
    )
    for weight in weights:
        if not network.is_small:  # nothing would be gained, and sums that begin from nothing have other last bits
            weight.grad = torch.zeros_like(weight)
        moments = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[weight] = {"step": torch.zeros((), dtype=torch.float32, device=weight.device), **moments}
    return optimizer


def update(network: Network, pairs: TokenPairs, training: TrainingSpec, optimizer: torch.optim.Optimizer) -> float:
    """One update on one mini-batch, its gradient clipped in norm; the mini-batch's loss before it."""
    loss = compute_gradient(network, pairs, training.beta)
    weights = optimizer.param_groups[0]["params"]
    norm = torch.nn.utils.clip_grad_norm_(weights, training.max_grad_norm)
    if not torch.isfinite(norm):
        raise FloatingPointError(f"the gradient's norm is {norm.item()} (loss {loss}); lower training.learning_rate")
    optimizer.step()
    return loss


def compute_gradient(network: Network, pairs: TokenPairs, beta: float) -> float:
    """Make the weights' gradients those of the mean DPO loss over `pairs`, summed up in micro-batches; the loss.

    Where memory runs out it begins anew with smaller ones, since a pass that broke off may have left half of its part.
    """
    while True:
        budget = network.training_budget
        seen, runs = budget.num_tokens, micro_batches(pairs, network)
        try:
            return _sum_up(network, pairs, beta, runs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if all(len(run) == 1 for run in runs):
                raise too_large(budget) from error
        budget.halve(seen)


def _sum_up(network: Network, pairs: TokenPairs, beta: float, runs: Sequence[Sequence[int]]) -> float:
    for weight in network.parameters.values():
        if weight.grad is not None:
            weight.grad.zero_()
    total = torch.zeros((), dtype=torch.float64, device=network.device)
    for rows in runs:
        total += _add_gradient(network, pairs.take(rows), beta, len(pairs))
    return float(total)


def _add_gradient(network: Network, part: TokenPairs, beta: float, num_pairs: int) -> torch.Tensor:
    """Add a micro-batch's gradient; its share of the loss, without the graph, which is in the way of the next one's."""
    loss = pair_losses(network, part, beta).sum() / num_pairs
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def pair_losses(network: Network, pairs: TokenPairs, beta: float) -> torch.Tensor:
    """-log sigmoid(r_w - r_l) of each pair, equation 4, shape (n,); one forward pass for both completions."""
    policy = shared.logp_of_groups(network, pairs.groups)
    reference = np.stack([pairs.reference_chosen, pairs.reference_rejected], axis=1).ravel()
    reward = implicit_reward(policy, to_device(reference, network.device), beta)
    chosen, rejected = reward.view(-1, 2).unbind(1)
    return torch.nn.functional.softplus(rejected - chosen)


def micro_batches(pairs: TokenPairs, network: Network) -> list[list[int]]:
    """The pairs in runs whose tokens, padding included, stay within the budget; a larger pair is a run by itself."""
    sizes, limit = [shared.num_padded(network, group) for group in pairs.groups], network.training_budget.num_tokens
    return evenly(sizes, limit) if network.packs and network.shares_prompts else shortest_first(sizes, limit)


def shortest_first(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Items of about the same size together, each taking as much room as the largest."""
    runs: list[list[int]] = [[]]
    for item in sorted(range(len(sizes)), key=lambda item: sizes[item]):
        if runs[-1] and (len(runs[-1]) + 1) * sizes[item] > limit:
            runs.append([])
        runs[-1].append(item)
    return runs


def evenly(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """As few runs as will do, of about the same size: the largest item first, each to the smallest run so far."""
    for num in range(-(-sum(min(size, limit) for size in sizes) // limit), len(sizes) + 1):
        runs: list[list[int]] = [[] for _ in range(num)]
        loads = [0] * num
        for item in sorted(range(len(sizes)), key=lambda item: -sizes[item]):
            least = loads.index(min(loads))
            runs[least].append(item)
            loads[least] += sizes[item]
        if all(load <= limit or len(run) == 1 for load, run in zip(loads, runs, strict=True)):
            return runs
    raise AssertionError("each item by itself would have done")
