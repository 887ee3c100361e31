"""Rows in which a prompt stands once, before all its completions; how DPO runs them.

A row is the prompt, then each completion without its last token, which is predicted but never fed. Each completion's
positions go on from the prompt's, and it sees the prompt and itself. What a completion gets is what it would get in a
row of its own, up to rounding. Letters: R rows, L padded length, K completions a prompt, N predicted tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from apl_bench.engine.device import to_device

if TYPE_CHECKING:
    from apl_bench.engine.network import Network

CHECK_TOLERANCE = 1e-3
_PADDING = -1  # segment of the tokens behind a row's end


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt with its completions, as token ids."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]

    @property
    def length(self) -> int:
        """Number of tokens that are fed."""
        return len(self.prompt) + sum(max(0, len(completion) - 1) for completion in self.completions)


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """Right-padded rows; where each completion token is predicted (flat positions in R x L), which token it is, and
    which completion it belongs to, counted over all rows."""

    num_completions: int
    ids_RL: Tensor
    position_RL: Tensor
    segment_RL: Tensor
    predicted_at_N: Tensor
    tokens_N: Tensor
    completion_N: Tensor

    @classmethod
    def of(cls, groups: Sequence[Group], device: torch.device) -> SharedBatch:
        """The rows of these groups, as long as the longest."""
        length = max(group.length for group in groups)
        ids, positions = np.zeros((2, len(groups), length), dtype=np.int64)
        segments = np.full((len(groups), length), _PADDING, dtype=np.int64)
        at: list[int] = []
        tokens: list[int] = []
        owners: list[int] = []
        num = 0
        for row, group in enumerate(groups):
            start = end = len(group.prompt)
            ids[row], segments[row, :start] = group.prompt[0], 0  # any token will do for the padding
            ids[row, :start], positions[row, :start] = group.prompt, np.arange(start)
            for segment, completion in enumerate(group.completions, start=1):
                begin, end = end, end + max(0, len(completion) - 1)
                ids[row, begin:end], segments[row, begin:end] = completion[:-1], segment
                positions[row, begin:end] = np.arange(start, start + end - begin)
                at += [row * length + place for place in (start - 1, *range(begin, end))][: len(completion)]
                tokens += completion
                owners += [num] * len(completion)
                num += 1
        arrays = (ids, positions, segments, *(np.array(found, dtype=np.int64) for found in (at, tokens, owners)))
        return cls(num, *(to_device(array, device) for array in arrays))

    @property
    def mask_R1LL(self) -> Tensor:
        """True where a query (third axis) may look at a key: not ahead, and at the prompt or its own completion."""
        query, key = self.segment_RL[:, None, :, None], self.segment_RL[:, None, None, :]
        return ((key == 0) | (key == query)).tril()


def logp_of_groups(network: Network, groups: Sequence[Group]) -> Tensor:
    """log p(completion | prompt) of each completion, group by group, nats, fp64 sums of fp32 terms; differentiable."""
    return _together(network, groups) if network.shares_prompts else _each_alone(network, groups)


def _together(network: Network, groups: Sequence[Group]) -> Tensor:
    batch = SharedBatch.of(groups, network.device)
    hidden = network.hidden(batch.ids_RL, attention_mask=batch.mask_R1LL, position_ids=batch.position_RL)
    return _summed(network, batch, hidden)


def _each_alone(network: Network, groups: Sequence[Group]) -> Tensor:
    """A row for each completion, for which the model's own causal mask will do."""
    batch = SharedBatch.of(apart(groups), network.device)
    return _summed(network, batch, network.hidden(batch.ids_RL))


def _summed(network: Network, batch: SharedBatch, hidden_RLD: Tensor) -> Tensor:
    hidden_ND = hidden_RLD.flatten(0, 1).index_select(0, batch.predicted_at_N)
    logp_N = network.head.token_logp(hidden_ND, batch.tokens_N).double()
    return logp_N.new_zeros(batch.num_completions).index_add(0, batch.completion_N, logp_N)


def apart(groups: Sequence[Group]) -> list[Group]:
    """A group for each completion."""
    return [Group(group.prompt, (completion,)) for group in groups for completion in group.completions]


def num_padded(network: Network, group: Group) -> int:
    """Tokens that the group takes in a batch whose longest it is."""
    if network.shares_prompts:
        return group.length
    return len(group.completions) * max(single.length for single in apart([group]))


@torch.no_grad()
def can_share(network: Network) -> bool:
    """Whether this model gives a completion the same in a row that it shares as in a row of its own.

    Not so for sliding windows (distance in the row counts), and positions that cannot be stated.
    """
    config = network.model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    windowed = getattr(config, "sliding_window", None) if kinds is None else set(kinds) != {"full_attention"}
    if windowed or not network.takes_positions:
        return False
    group = Group((1, 2, 3), ((4, 5, 6, 7), (8, 9, 10), (11, 12, 13)))
    alone = _each_alone(network, [group])
    try:
        together = _together(network, [group])
    except (ValueError, RuntimeError):  # a model that takes no mask of four axes
        return False
    return bool(((together - alone).abs() <= CHECK_TOLERANCE * (1.0 + alone.abs())).all())
