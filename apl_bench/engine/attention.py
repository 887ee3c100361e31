"""Attention for one new token on a CPU, registered with transformers under a name of its own.

torch's fused CPU kernel gives a row with a single query other last bits on one thread than on another, so that a
completion would depend on where in the batch it stands; two plain products do not, and are faster besides.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "apl_bench"
SPECIAL = ("position_bias", "cache", "softcap")  # arguments of a few models, left to transformers


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """transformers' `sdpa`, except for a single query without gradients; query (rows, heads, length, head size)."""
    special = any(options.get(name) is not None for name in SPECIAL)
    if query.shape[2] > 1 or special or torch.is_grad_enabled():
        attended: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return attended
    return _attend_once(query, key, value, attention_mask, options.get("scaling")), None


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
