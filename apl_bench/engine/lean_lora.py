"""Adapters' layers in fewer passes over memory: what B gives is added by the product itself, its scale put into B.

peft multiplies what B gives by the scale, then adds it, each a pass over an array of the layer's width. Gradients are
as many passes shorter. On a CPU in fp32, which is where it was measured; elsewhere peft's own.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn


class LeanLinear(Linear):
    """W x + scale * B (A x), over the last axis of x, for at most one plain adapter that is switched on."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """See peft's, which does whatever else its layers can."""
        adapters = [name for name in self.active_adapters if name in self.lora_A and not self.disable_adapters]
        found: Tensor
        if args or kwargs or self.merged or len(adapters) > 1 or not _is_fp32(x, self.weight) or not _is_plain(self):
            found = super().forward(x, *args, **kwargs)
        elif not adapters:
            found = self.base_layer(x)
        else:
            rows, adapter = x.reshape(-1, x.shape[-1]), adapters[0]
            found = self.base_layer(rows)
            found.addmm_(self.lora_A[adapter](rows), (self.lora_B[adapter].weight * self.scaling[adapter]).T)
            found = found.view(*x.shape[:-1], found.shape[-1])
        return found


def use_lean_adapters(model: Any) -> None:
    """Let the adapters of a fp32 model on a CPU use these, wherever they are plain ones of plain linear layers."""
    if model.device.type != "cpu" or model.dtype != torch.float32:
        return
    for module in model.modules():
        if type(module) is Linear and _is_plain(module):
            module.__class__ = LeanLinear


def _is_fp32(x: Tensor, weight: Tensor) -> bool:
    """Whether nothing is cast: fp32 inputs and weights, and no autocast."""
    return x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)


def _is_plain(layer: Linear) -> bool:
    """A linear layer with adapters that neither drop, nor have a bias, nor are of another kind."""
    dropped = any(not isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())
    biased = any(other.bias is not None for other in layer.lora_B.values())
    return type(layer.base_layer) is nn.Linear and not (layer.lora_variant or dropped or biased)
