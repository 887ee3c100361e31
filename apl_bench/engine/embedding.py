"""Input embeddings whose gradient is added to the one that is there, in place.

torch's own backward pass makes an array of the whole vocabulary's size for the few rows that a micro-batch looks up,
and adds all of it. On a CPU only: on CUDA the order of such additions is not fixed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class InPlaceEmbedding(torch.nn.Embedding):
    """torch's embedding, with another backward pass."""

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the weights, shape (*ids.shape, D)."""
        if not (torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(ids)
        found: Tensor = _Lookup.apply(ids, self.weight, self.padding_idx)  # type: ignore[no-untyped-call]
        return found


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight_VD: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(ids, weight_VD)
        ctx.padding = padding
        return torch.nn.functional.embedding(ids, weight_VD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor | None, None]:
        ids, weight_VD = ctx.saved_tensors
        ids_N, grad_ND = ids.flatten(), grads[0].flatten(0, -2)
        if ctx.padding is not None:  # as in torch, the padding's row learns nothing
            grad_ND = grad_ND.masked_fill((ids_N == ctx.padding)[:, None], 0.0)
        there = weight_VD.is_leaf and weight_VD.grad is not None
        grad_VD = weight_VD.grad if there else torch.zeros_like(weight_VD)
        grad_VD.index_add_(0, ids_N, grad_ND.to(grad_VD.dtype))
        return None, None if there else grad_VD, None


def use_in_place_gradient(model: Any) -> None:
    """Let a model on a CPU whose input embeddings are torch's plain ones use these."""
    module = model.get_input_embeddings()
    plain = type(module) is torch.nn.Embedding and module.max_norm is None and not module.scale_grad_by_freq
    if plain and not module.sparse and module.weight.device.type == "cpu":
        module.__class__ = InPlaceEmbedding  # not a closure: a copy of the model looks up its own weights
