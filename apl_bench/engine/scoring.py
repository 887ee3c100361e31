"""Log-probabilities of completions, computed on completion positions only.

Sequences are padded on the right: under causal attention a completion never sees what follows it, so no mask is
needed. A completion's last token is predicted but never fed. Letters: R rows, L padded length, N positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from apl_bench.engine.batching import fill_up, group_by, min_rows, padded_length, split_evenly
from apl_bench.engine.network import Network
from apl_bench.engine.parallel import map_batches

LENGTH_STEP = 4  # small: every padded token costs a pass
TOKEN_BUDGET = {"cpu": 4096, "cuda": 65536}  # padded tokens in a forward pass without gradients


@dataclass(frozen=True, slots=True)
class Sequences:
    """R prompts with their completions, as token ids."""

    prompts: Sequence[tuple[int, ...]]
    completions: Sequence[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each that are fed."""
        pairs = zip(self.prompts, self.completions, strict=True)
        return [len(prompt) + max(0, len(completion) - 1) for prompt, completion in pairs]

    def take(self, rows: Sequence[int]) -> Sequences:
        """These rows, in this order."""
        return Sequences([self.prompts[row] for row in rows], [self.completions[row] for row in rows])


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded tokens, and where each completion token is predicted: flat positions in R x L, tokens and rows."""

    ids_RL: Tensor
    positions_N: Tensor
    tokens_N: Tensor
    rows_N: Tensor

    @classmethod
    def of(cls, sequences: Sequences, length: int, device: torch.device) -> Batch:
        ids_RL = np.zeros((len(sequences), length), dtype=np.int64)
        for row, (prompt, completion) in enumerate(zip(sequences.prompts, sequences.completions, strict=True)):
            fed = (prompt + completion)[:-1] if completion else prompt
            ids_RL[row] = prompt[0]  # any token will do; a padding token would have transformers ask for a mask
            ids_RL[row, : len(fed)] = fed
        counts = np.array([len(completion) for completion in sequences.completions])
        starts = np.array([len(prompt) - 1 for prompt in sequences.prompts]) + np.arange(len(sequences)) * length
        rows_N = np.repeat(np.arange(len(sequences)), counts)
        place_N = np.arange(len(rows_N)) - np.repeat(np.cumsum(counts) - counts, counts)
        tokens = [token for completion in sequences.completions for token in completion]
        arrays = (ids_RL, starts[rows_N] + place_N, np.array(tokens, dtype=np.int64), rows_N)
        return cls(*(torch.from_numpy(array).to(device, non_blocking=True) for array in arrays))


def batch_logp(network: Network, batch: Batch) -> Tensor:
    """log p(completion | prompt) of each row, shape (R,), nats, fp64 sums of fp32 terms; differentiable."""
    hidden = network.hidden(batch.ids_RL).flatten(0, 1).index_select(0, batch.positions_N)
    token_logp = network.head.token_logp(hidden, batch.tokens_N).double()
    return token_logp.new_zeros(len(batch.ids_RL)).index_add(0, batch.rows_N, token_logp)


def logp(network: Network, sequences: Sequences) -> np.ndarray:
    """log p(completion | prompt) at temperature 1 of each sequence, shape (R,), nats.

    On a CPU a sequence's value does not depend on the other ones or the number of threads, to the last bit.
    """
    lengths = [padded_length(length, network.max_length, LENGTH_STEP) for length in sequences.lengths]
    batches: list[Sequence[int]] = []
    for group in group_by(lengths):
        batches += split_evenly(group, TOKEN_BUDGET[network.device.type] // lengths[group[0]])

    def work(rows: Sequence[int]) -> np.ndarray:
        return _logp_of_rows(network, sequences.take(rows), lengths[rows[0]])

    values = np.empty(len(sequences))
    for rows, found in zip(batches, map_batches(work, batches, network.device), strict=True):
        values[list(rows)] = found
    return values


@torch.inference_mode()
def _logp_of_rows(network: Network, sequences: Sequences, length: int) -> np.ndarray:
    rows = fill_up(range(len(sequences)), -(-min_rows(torch.get_num_threads()) // length))
    batch = Batch.of(sequences.take(rows), length, network.device)
    return batch_logp(network, batch)[: len(sequences)].cpu().numpy()
