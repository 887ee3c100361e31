"""Blocks of models of Llama's kind that keep less for the backward pass: two thirds of what transformers' own keep.

A norm keeps its input and a number a token in place of three arrays. A gated feed-forward layer keeps what comes out of
its two projections; their product, which the third one takes, is made again where its gradient is. Values are those of
transformers' own blocks to the last bit, gradients up to rounding. On a CPU in fp32, which is where it was measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHECK_TOLERANCE = 1e-5
_CHECK_SHAPE = (2, 3)  # rows and tokens on which a block is held against the one that it stands in for


class LeanNorm(nn.Module):
    """weight * x / sqrt(mean(x^2) + epsilon), over the last axis."""

    weight: Tensor
    variance_epsilon: float

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        normed: Tensor = _Norm.apply(x, self.weight, self.variance_epsilon)  # type: ignore[no-untyped-call]
        return normed


class LeanGated(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    gate_proj: Callable[[Tensor], Tensor]
    up_proj: Callable[[Tensor], Tensor]
    down_proj: Callable[[Tensor], Tensor]

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        gate, up = self.gate_proj(x), self.up_proj(x)
        silu = _Silu()
        product: Tensor = _Gated.apply(gate, up, silu)  # type: ignore[no-untyped-call]
        if not product.requires_grad:
            return self.down_proj(product)
        place = product.untyped_storage().data_ptr()

        def pack(kept: Tensor) -> Any:
            ours = kept.untyped_storage().data_ptr() == place
            return _Product(gate.detach(), up.detach(), silu, kept) if ours else kept

        with torch.autograd.graph.saved_tensors_hooks(pack, _unpack):
            return self.down_proj(product)


@dataclass(slots=True)
class _Silu:
    """silu(gate), from where a product is made again until its gradient is made, which is next."""

    value: Tensor | None = None


class _Product:
    """A product that is not kept: what it is made from, and how the tensor that was to be kept lay in it."""

    def __init__(self, gate: Tensor, up: Tensor, silu: _Silu, kept: Tensor) -> None:
        self._gate, self._up, self._silu = gate, up, silu
        self._layout = tuple(kept.shape), kept.stride(), int(kept.storage_offset())

    def made(self) -> Tensor:
        self._silu.value = nn.functional.silu(self._gate)
        return (self._silu.value * self._up).as_strided(*self._layout)


def _unpack(kept: Any) -> Tensor:
    return kept.made() if isinstance(kept, _Product) else kept


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, weight_D, scale)
        return (x * scale).mul_(weight_D)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight_D, scale = ctx.saved_tensors
        grad, normed = grads[0], x * scale
        of_x = of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = (grad * normed).flatten(0, -2).sum(0)
        if ctx.needs_input_grad[0]:
            weighted = grad * weight_D
            along = (weighted * normed).mean(-1, keepdim=True)
            of_x = weighted.sub_(normed.mul_(along)).mul_(scale)
        return of_x, of_weight, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, silu: _Silu) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.silu = silu
        return nn.functional.silu(gate) * up

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        gate, up = ctx.saved_tensors
        silu, ctx.silu.value = ctx.silu.value, None
        silu = nn.functional.silu(gate) if silu is None else silu
        return torch.ops.aten.silu_backward(grads[0] * up, gate), silu.mul_(grads[0]), None


def use_lean_blocks(model: Any) -> None:
    """Let the norms and gated layers of a fp32 model on a CPU use these, wherever they compute the same."""
    if model.device.type != "cpu" or model.dtype != torch.float32:
        return
    for module in list(model.modules()):
        kind = _lean_kind(module)
        if kind is not None and _computes_the_same(module, kind):
            module.__class__ = kind  # not a closure: a copy of the model uses its own weights


def _lean_kind(module: nn.Module) -> type[nn.Module] | None:
    """What could stand in for a module, by its parts."""
    own, parts = set(dict(module.named_parameters(recurse=False))), set(dict(module.named_children()))
    if type(module).__name__.endswith("RMSNorm") and own == {"weight"} and hasattr(module, "variance_epsilon"):
        return LeanNorm
    gated = parts == {"gate_proj", "up_proj", "down_proj", "act_fn"} and not own
    return LeanGated if gated and all(isinstance(getattr(module, name), nn.Linear) for name in
                                      ("gate_proj", "up_proj", "down_proj")) else None  # fmt: skip


@torch.no_grad()
def _computes_the_same(module: nn.Module, kind: type[nn.Module]) -> bool:
    first = next(module.parameters())
    x = torch.linspace(-2.0, 3.0, _CHECK_SHAPE[0] * _CHECK_SHAPE[1] * first.shape[-1]).sin()
    x = x.reshape(*_CHECK_SHAPE, first.shape[-1])
    return torch.allclose(kind.forward(module, x), module(x), rtol=CHECK_TOLERANCE, atol=CHECK_TOLERANCE)
