"""Attention on a CPU, registered with transformers under a name of its own.

For sequences that stand behind one another in one row: each by itself, its keys and values not repeated for the heads
that share them. For one new token: two plain products, since torch's fused CPU kernel gives a row with a single query
other last bits on one thread than on another, so that a completion would depend on where in the batch it stands; those
do not, and are faster besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "apl_bench"
SPECIAL = ("position_bias", "cache", "softcap")  # arguments of a few models, left to transformers


@dataclass(frozen=True, slots=True)
class Packing:
    """Sequences that fill one row: the row's mask, how long each is, and what is added to its scores: 0, or -inf where
    a query (rows) may not look at a key (columns)."""

    mask_11LL: Tensor
    lengths: tuple[int, ...]
    masks: tuple[Tensor, ...]

    @classmethod
    def of(cls, mask_11LL: Tensor, lengths: Sequence[int]) -> Packing:
        """From the mask of the whole row, True where a query may look."""
        stops = np.cumsum(lengths).tolist()
        own = (slice(stop - size, stop) for stop, size in zip(stops, lengths, strict=True))
        hidden = (~mask_11LL[0, 0, places, places] for places in own)
        masks = tuple(torch.zeros(part.shape, device=part.device).masked_fill_(part, -torch.inf) for part in hidden)
        return cls(mask_11LL, tuple(lengths), masks)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packing: Packing | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' `sdpa`, except for packed sequences, and for a single query without gradients.

    query (rows, heads, length, head size). Where a layer has changed the packed row's mask, its own is what counts.
    """
    special = any(options.get(name) is not None for name in SPECIAL)
    if packing is not None and attention_mask is packing.mask_11LL and not special:
        return _attend_packed(query, key, value, packing, options.get("scaling")), None
    if query.shape[2] > 1 or special or torch.is_grad_enabled():
        attended: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return attended
    return _attend_once(query, key, value, attention_mask, options.get("scaling")), None


def _attend_packed(query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None) -> Tensor:
    """softmax(q k^T scaling) v of each sequence, shape (1, length, heads, head size).

    What comes out is kept for the backward pass once, in the row that the next layer keeps, and not besides.
    """
    found, outcomes = [], []
    split = (torch.split(states[0], list(packing.lengths), dim=1) for states in (query, key, value))
    for q, k, v, mask in zip(*split, packing.masks, strict=True):
        grouped, kept = q.unflatten(0, (k.shape[0], -1)), list[_Kept]()
        keys, values = (states[:, None].expand(-1, grouped.shape[1], -1, -1) for states in (k, v))
        with torch.autograd.graph.saved_tensors_hooks(partial(_keep, kept), _unpack):
            attended = scaled_dot_product_attention(grouped, keys, values, mask.to(q.dtype), scale=scaling)
        outcomes.append([one for one in kept if one.states.data_ptr() == attended.data_ptr()])
        found.append(attended.permute(2, 0, 1, 3))
    row = torch.cat(found)
    for part, outcome in zip(torch.split(row.detach(), list(packing.lengths)), outcomes, strict=True):
        for one in outcome:
            one.states = part.permute(1, 2, 0, 3)
    return row.flatten(1, 2)[None]


@dataclass(slots=True)
class _Kept:
    """What is kept for a backward pass."""

    states: Tensor


def _keep(kept: list[_Kept], states: Tensor) -> _Kept:
    kept.append(_Kept(states.detach()))  # what would hold the step that keeps it would stay for good
    return kept[-1]


def _unpack(kept: _Kept) -> Tensor:
    return kept.states


def _attend_once(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """softmax(q k^T scaling) v, shape (rows, 1, heads, head size); query heads that share keys share a product."""
    rows, heads, _, size = query.shape
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    scores = torch.matmul(grouped, key.transpose(-1, -2)) * (size**-0.5 if scaling is None else scaling)
    if mask is not None:
        assert mask.shape[1] == 1, "one mask for all heads"
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    attended = torch.matmul(torch.softmax(scores, dim=-1), value)
    return attended.reshape(rows, 1, heads, value.shape[3])


def always_mask(attention_mask: Tensor | None = None, **options: Any) -> Tensor | None:
    """transformers' mask for `sdpa`, made also where a batch has no padding: without one a row would go through another
    kernel, and get other last bits than beside a row that is padded."""
    if attention_mask is not None:
        options["allow_is_causal_skip"] = False
    mask: Tensor | None = sdpa_mask(attention_mask=attention_mask, **options)
    return mask


def use_on_cpu(model: Any) -> None:
    """Let a model on a CPU that would use `sdpa` use `attend`; others keep what transformers chose for them."""
    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, always_mask)
        model.set_attn_implementation(NAME)


def uses_attend(model: Any) -> bool:
    """Whether the model's attention is `attend`."""
    return bool(model.config._attn_implementation == NAME)
