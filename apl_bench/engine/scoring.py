"""Log-probabilities of completions without gradients: each prompt runs once, and its completions behind it.

Letters: P prompts, R completions, L padded length of their prompts, C padded number of their tokens that are fed, D
hidden size. A completion's last token is predicted but never fed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from apl_bench.engine.batching import fill_up, group_by, min_rows, padded_length, split_evenly
from apl_bench.engine.device import in_memory, to_device
from apl_bench.engine.network import Network
from apl_bench.engine.parallel import map_batches
from apl_bench.engine.prefill import Part, Prefilled, feed, go_on, prefill

# Prompts and completions are padded to multiples of these, for a small model and for a large one: every padded token
# costs a pass, and every batch of other lengths costs reading all weights.
LENGTH_STEPS = ((4, 4), (32, 32))


@dataclass(frozen=True, slots=True)
class Sequences:
    """R prompts with their completions, as token ids."""

    prompts: Sequence[tuple[int, ...]]
    completions: Sequence[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: Sequence[int]) -> Sequences:
        """These rows, in this order."""
        return Sequences([self.prompts[row] for row in rows], [self.completions[row] for row in rows])


def logp(network: Network, sequences: Sequences) -> np.ndarray:
    """log p(completion | prompt) at temperature 1 of each sequence, shape (R,), nats.

    On a CPU a sequence's value does not depend on the other ones or the number of threads, to the last bit.
    """
    lengths = [_padded_prompt(network, len(prompt)) for prompt in sequences.prompts]
    nums_fed = [_padded_completion(network, len(completion)) for completion in sequences.completions]
    batches: list[Sequence[int]] = []
    for group in group_by(lengths):
        together = sorted(group, key=lambda row: sequences.prompts[row])  # the completions of a prompt share its pass
        each = lengths[group[0]] + max(nums_fed[row] for row in group)
        batches += split_evenly(together, network.budgets.scoring.num_tokens // each)

    def work(rows: Sequence[int]) -> list[float]:
        return _logp_of_rows(network, sequences.take(rows), lengths[rows[0]], [nums_fed[row] for row in rows])

    values = np.empty(len(sequences))
    careful = in_memory(network.budgets.scoring, work)
    for rows, found in zip(batches, map_batches(careful, batches, network.num_workers), strict=True):
        values[list(rows)] = found
    return values


def _padded_prompt(network: Network, length: int) -> int:
    return padded_length(length, network.max_length, LENGTH_STEPS[0 if network.is_small else 1][0])


def _padded_completion(network: Network, length: int) -> int:
    """For the tokens that are fed."""
    step = LENGTH_STEPS[0 if network.is_small else 1][1]
    return padded_length(length - 1, network.max_length, step) if length > 1 else 0


@torch.inference_mode()
def _logp_of_rows(network: Network, sequences: Sequences, num_prompt: int, nums_fed: Sequence[int]) -> list[float]:
    """The same for prompts of one padded length: they run once, then their completions, each length by itself."""
    prefilled, values = prefill(network, sequences.prompts, num_prompt), np.empty(len(sequences))
    for group in group_by(nums_fed):
        values[group] = _logp_behind(network, prefilled, sequences.take(group), num_prompt, nums_fed[group[0]])
    found: list[float] = values.tolist()
    return found


def _logp_behind(
    network: Network, prefilled: Prefilled, sequences: Sequences, num_prompt: int, num_fed: int
) -> list[float]:
    """The same for completions of one padded length, behind prompts that have run."""
    rows = sequences.take(fill_up(range(len(sequences)), -(-min_rows(torch.get_num_threads()) // max(1, num_fed))))
    state = go_on([Part(prefilled, rows.prompts, range(len(rows)))], len(rows), num_prompt, num_fed)
    hidden = state.hidden_RD[:, None]
    if num_fed:
        hidden = torch.cat([hidden, feed(network, state, _fed(rows.completions, num_fed, network.device))], dim=1)
    counts = torch.tensor([len(completion) for completion in rows.completions], device=network.device)
    row_N, place_N = (torch.arange(1 + num_fed, device=network.device) < counts[:, None]).nonzero(as_tuple=True)
    tokens_N = to_device(np.array([token for completion in rows.completions for token in completion]), network.device)
    token_logp = network.head.token_logp(hidden[row_N, place_N], tokens_N).double()
    summed = token_logp.new_zeros(len(rows)).index_add(0, row_N, token_logp)
    found: list[float] = summed[: len(sequences)].tolist()
    return found


def _fed(completions: Sequence[tuple[int, ...]], num_fed: int, device: torch.device) -> torch.Tensor:
    """Completions without their last tokens, right-padded: no token sees what follows it."""
    ids = np.array([(*completion[:-1], *(0,) * (num_fed - len(completion[:-1]))) for completion in completions])
    return to_device(ids, device)
