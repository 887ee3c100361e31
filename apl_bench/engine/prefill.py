"""Prompts run once each, their keys and values handed to every completion that goes on from them.

Letters: R completions, L padded prompt length, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from apl_bench.engine.batching import fill_up, min_rows
from apl_bench.engine.cache import spread
from apl_bench.engine.device import to_device
from apl_bench.engine.network import Network


@dataclass(slots=True)
class Prefilled:
    """What the model knows at the end of each completion's prompt; `position_R` is that of the next token."""

    hidden_RD: Tensor
    position_R: Tensor
    mask_RL: Tensor
    cache: DynamicCache

    def keep(self, rows: Tensor) -> None:
        """Drop all other rows."""
        self.hidden_RD, self.position_R, self.mask_RL = self.hidden_RD[rows], self.position_R[rows], self.mask_RL[rows]
        self.cache.batch_select_indices(rows)


def prefill(network: Network, prompts: Sequence[tuple[int, ...]], length: int, num_new: int) -> Prefilled:
    """Run each different prompt once, left-padded to `length`, then give each of `prompts` a row of its own, with room
    for `num_new` tokens.

    The first row is a filler that is padded: a batch without any padding would go through other attention kernels, and
    give other last bits.
    """
    rows = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompts), start=1)}
    different = fill_up([prompts[0][:1], *rows], -(-min_rows(torch.get_num_threads()) // length))
    rows_R = torch.tensor([rows[prompt] for prompt in prompts], device=network.device)
    size = torch.tensor([len(prompt) for prompt in different], device=network.device)
    mask = torch.arange(length, device=network.device) >= length - size[:, None]
    ids = np.array([(0,) * (length - len(prompt)) + prompt for prompt in different])
    cache = DynamicCache(config=network.model.config)
    hidden = network.hidden(
        to_device(ids, network.device),
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        past_key_values=cache,
    )
    spread(cache, rows_R, length + num_new)
    return Prefilled(hidden[rows_R, -1], size[rows_R], mask[rows_R], cache)


def feed(network: Network, prefilled: Prefilled, ids_RC: Tensor) -> Tensor:
    """Feed the next tokens of each row; their hidden states, shape (R, C, D). The mask grows, the positions do not."""
    num = ids_RC.shape[1]
    prefilled.mask_RL = torch.nn.functional.pad(prefilled.mask_RL, (0, num), value=True)
    positions = prefilled.position_R[:, None] + torch.arange(num, device=network.device)
    return network.hidden(
        ids_RC,
        attention_mask=prefilled.mask_RL,
        position_ids=positions.clamp(max=network.max_length - 1),
        past_key_values=prefilled.cache,
    )
