"""Rows in which a prompt stands once, before all its completions; how DPO runs them.

A group is the prompt, then each completion without its last token, which is predicted but never fed. Each completion's
positions go on from the prompt's, and it sees the prompt and itself. What a completion gets is what it would get in a
row of its own, up to rounding. A large model on a CPU runs groups behind one another in one row, without padding;
others run a row for each. Letters: R rows, L padded length, K completions a prompt, N predicted tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from apl_bench.engine.attention import Packing
from apl_bench.engine.device import to_device

if TYPE_CHECKING:
    from apl_bench.engine.network import Network

CHECK_TOLERANCE = 1e-3
_PADDING = -1  # segment of the tokens behind a row's end; they look at the first prompt and each other


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
    """Right-padded rows; of each token its position, its segment (a prompt or a completion, counted within the row) and
    its prompt's; where each completion token is predicted (flat positions in R x L), which token it is, and which
    completion it belongs to, counted over all rows."""

    num_completions: int
    ids_RL: Tensor
    position_RL: Tensor
    segment_RL: Tensor
    prompt_RL: Tensor
    predicted_at_N: Tensor
    tokens_N: Tensor
    completion_N: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[Group]], device: torch.device) -> SharedBatch:
        """Rows of groups, as long as the longest row."""
        made = [_Row(groups) for groups in rows]
        length = max(len(row.ids) for row in made)
        padding = (made[0].ids[0], 0, _PADDING, 0)  # any token will do
        padded = (
            [column + [fill] * (length - len(column)) for column in columns]
            for fill, columns in zip(padding, zip(*(row.columns for row in made), strict=True), strict=True)
        )
        at = [start * length + place for start, row in enumerate(made) for place in row.predicted_at]
        completions = [completion for groups in rows for group in groups for completion in group.completions]
        tokens = [token for completion in completions for token in completion]
        owners = np.repeat(np.arange(len(completions)), [len(completion) for completion in completions])
        arrays = (*padded, at, tokens, owners)
        return cls(len(completions), *(to_device(np.array(found, dtype=np.int64), device) for found in arrays))

    @property
    def mask_R1LL(self) -> Tensor:
        """True where a query (third axis) may look at a key: not ahead, and at its prompt or its own completion."""
        own, prompt = self.segment_RL[:, None, :, None], self.prompt_RL[:, None, :, None]
        key = self.segment_RL[:, None, None, :]
        return ((key == prompt) | (key == own)).tril()


class _Row:
    """The tokens of groups that stand behind one another, and where in them each completion token is predicted."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.segments: list[int] = []
        self.prompts: list[int] = []
        self.predicted_at: list[int] = []
        self._num_segments = 0
        for group in groups:
            own, size = self._add(group.prompt, 0), len(group.prompt)
            before = len(self.ids) - 1
            self.prompts += [own] * size
            for completion in group.completions:
                begin = len(self.ids)
                self._add(completion[:-1], size)
                self.prompts += [own] * (len(self.ids) - begin)
                self.predicted_at += [before, *range(begin, len(self.ids))][: len(completion)]

    @property
    def columns(self) -> tuple[list[int], ...]:
        """What is known of each token."""
        return self.ids, self.positions, self.segments, self.prompts

    def _add(self, tokens: tuple[int, ...], position: int) -> int:
        """A prompt or a completion whose first token has this position; the segment that it is."""
        segment = self._num_segments
        self.ids += tokens
        self.positions += range(position, position + len(tokens))
        self.segments += [segment] * len(tokens)
        self._num_segments += 1
        return segment


def logp_of_groups(network: Network, groups: Sequence[Group]) -> Tensor:
    """log p(completion | prompt) of each completion, group by group, nats, fp64 sums of fp32 terms; differentiable."""
    return _summed(network, *body(network, groups))


def body(network: Network, groups: Sequence[Group]) -> tuple[SharedBatch, Tensor]:
    """How these groups run, and the hidden states that come out, shape (R, L, D)."""
    return _together(network, groups) if network.shares_prompts else _each_alone(network, groups)


def _together(network: Network, groups: Sequence[Group]) -> tuple[SharedBatch, Tensor]:
    batch = SharedBatch.of([groups] if network.packs else [[group] for group in groups], network.device)
    mask, options = batch.mask_R1LL, {}
    if network.packs:
        options["packing"] = Packing.of(mask, [group.length for group in groups])
    return batch, network.hidden(batch.ids_RL, attention_mask=mask, position_ids=batch.position_RL, **options)


def _each_alone(network: Network, groups: Sequence[Group]) -> tuple[SharedBatch, Tensor]:
    """A row for each completion, for which the model's own causal mask will do."""
    batch = SharedBatch.of([[group] for group in apart(groups)], network.device)
    return batch, network.hidden(batch.ids_RL)


def _summed(network: Network, batch: SharedBatch, hidden_RLD: Tensor) -> Tensor:
    hidden_ND = hidden_RLD.flatten(0, 1).index_select(0, batch.predicted_at_N)
    logp_N = network.head.token_logp(hidden_ND, batch.tokens_N).double()
    return logp_N.new_zeros(batch.num_completions).index_add(0, batch.completion_N, logp_N)


def apart(groups: Sequence[Group]) -> list[Group]:
    """A group for each completion."""
    return [Group(group.prompt, (completion,)) for group in groups for completion in group.completions]


def num_padded(network: Network, group: Group) -> int:
    """Tokens that the group takes, in padded rows those of a batch whose longest it is."""
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
    groups = [Group((1, 2, 3), ((4, 5, 6, 7), (8, 9, 10), (11, 12, 13))), Group((14, 15), ((16, 17),))]
    alone = _summed(network, *_each_alone(network, groups))
    try:
        together = _summed(network, *_together(network, groups))
    except (ValueError, RuntimeError):  # a model that takes no mask of four axes
        return False
    return bool(((together - alone).abs() <= CHECK_TOLERANCE * (1.0 + alone.abs())).all())
