"""Prompts run once each, their keys and values handed to every completion that goes on from them.

Letters: P different prompts, R completions, L padded prompt length, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from apl_bench.engine.batching import fill_up, min_rows
from apl_bench.engine.cache import put, room_for
from apl_bench.engine.device import to_device
from apl_bench.engine.network import Network


@dataclass(frozen=True, slots=True)
class Prefilled:
    """What the model knows at the end of different prompts, left-padded to one length."""

    row_of: dict[tuple[int, ...], int]
    hidden_PD: Tensor
    size_P: Tensor
    mask_PL: Tensor
    cache: DynamicCache


@dataclass(slots=True)
class State:
    """What the model knows at the end of each completion as it stands; `position_R` is that of the next token."""

    hidden_RD: Tensor
    position_R: Tensor
    mask_RL: Tensor
    cache: DynamicCache

    def keep(self, rows: Tensor) -> None:
        """Drop all other rows."""
        self.hidden_RD, self.position_R, self.mask_RL = self.hidden_RD[rows], self.position_R[rows], self.mask_RL[rows]
        self.cache.batch_select_indices(rows)


@dataclass(frozen=True, slots=True)
class Part:
    """Prompts of one length that have run, the prompt of each completion behind them, and its row."""

    prefilled: Prefilled
    prompts: Sequence[tuple[int, ...]]
    rows: Sequence[int]


def prefill(network: Network, prompts: Iterable[tuple[int, ...]], length: int) -> Prefilled:
    """Run each different prompt once, left-padded to `length`."""
    row_of = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompts))}
    rows = fill_up(list(row_of), -(-min_rows(torch.get_num_threads()) // length))
    size = torch.tensor([len(prompt) for prompt in rows], device=network.device)
    mask = torch.arange(length, device=network.device) >= length - size[:, None]
    ids = np.array([(0,) * (length - len(prompt)) + prompt for prompt in rows])
    cache = DynamicCache(config=network.model.config)
    hidden = network.hidden(
        to_device(ids, network.device),
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        past_key_values=cache,
    )
    return Prefilled(row_of, hidden[:, -1].clone(), size, mask, cache)  # not a view, which would keep all of them


def go_on(parts: Iterable[Part], num_rows: int, length: int, num_new: int) -> State:
    """A row for each completion, with `length` positions for its prompt and room for `num_new` tokens.

    Parts are let go of one by one. Where the model's cache is not plain there is one, of prompts as long as `length`.
    """
    state: State | None = None
    for part in parts:
        if state is None:
            state = _room(part.prefilled, num_rows, length, num_new)
        _fill(state, part)
        del part
    assert state is not None
    return state


def _room(prefilled: Prefilled, num_rows: int, length: int, num_new: int) -> State:
    hidden_PD, size_P = prefilled.hidden_PD, prefilled.size_P
    return State(
        hidden_PD.new_empty((num_rows, hidden_PD.shape[1])),
        size_P.new_empty(num_rows),
        prefilled.mask_PL.new_zeros((num_rows, length)),
        room_for(prefilled.cache, num_rows, length, length + num_new),
    )


def _fill(state: State, part: Part) -> None:
    prefilled, device = part.prefilled, state.hidden_RD.device
    rows = torch.tensor(part.rows, device=device)
    prompts = torch.tensor([prefilled.row_of[prompt] for prompt in part.prompts], device=device)
    state.hidden_RD[rows] = prefilled.hidden_PD[prompts]
    state.position_R[rows] = prefilled.size_P[prompts]
    missing = state.mask_RL.shape[1] - prefilled.mask_PL.shape[1]
    assert missing >= 0, "a prompt is padded to more while it runs than in its batch"
    state.mask_RL[rows, missing:] = prefilled.mask_PL[prompts]
    put(state.cache, rows, prefilled.cache, prompts)


def feed(network: Network, state: State, ids_RC: Tensor) -> Tensor:
    """Feed the next tokens of each row; their hidden states, shape (R, C, D). The mask grows, the positions do not."""
    num = ids_RC.shape[1]
    state.mask_RL = torch.nn.functional.pad(state.mask_RL, (0, num), value=True)
    positions = state.position_R[:, None] + torch.arange(num, device=network.device)
    return network.hidden(
        ids_RC,
        attention_mask=state.mask_RL,
        position_ids=positions.clamp(max=network.max_length - 1),
        past_key_values=state.cache,
    )
