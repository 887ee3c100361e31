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
    """W x + scale * B (A x) in the shape of x, for at most one adapter that is switched on."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """See peft's."""
        if self.disable_adapters:
            base: Tensor = self.base_layer(x)
            return base
        (adapter,) = self.active_adapters
        if adapter not in self.lora_A:
            base = self.base_layer(x)
            return base
        if torch.is_autocast_enabled(x.device.type):
            whole: Tensor = super().forward(x, *args, **kwargs)
            return whole
        rows = x.reshape(-1, x.shape[-1])
        found: Tensor = self.base_layer(rows)
        low: Tensor = self.lora_A[adapter](rows)
        found.addmm_(low, (self.lora_B[adapter].weight * self.scaling[adapter]).T)
        return found.view(*x.shape[:-1], -1)


def use_lean_adapters(model: Any) -> None:
    """Let the adapters of a fp32 model on a CPU use these, wherever they are plain ones of plain linear layers."""
    if model.device.type != "cpu" or model.dtype != torch.float32:
        return
    for module in model.modules():
        if type(module) is Linear and _is_plain(module):
            module.__class__ = LeanLinear


def _is_plain(layer: Linear) -> bool:
    dropped = any(not isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())
    biased = any(other.bias is not None for other in layer.lora_B.values())
    return type(layer.base_layer) is nn.Linear and not (layer.lora_variant or dropped or biased)
