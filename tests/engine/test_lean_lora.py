"""Lean adapters: peft's values and gradients up to rounding, and what is no plain linear layer is left to peft."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora.layer import Linear
from torch import nn

from apl_bench.engine.lean_lora import LeanLinear, use_lean_adapters
from apl_bench.engine.lora import Adapters, LoraNetwork
from apl_bench.spec import LoraSpec
from tests.engine import tiny

TARGETS = ("q_proj", "v_proj", "down_proj")


def adapted(lean: bool, **options: object) -> nn.Module:
    """A tiny llama with an adapter that changes something, frozen beneath it."""
    model = tiny.llama().requires_grad_(False)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=list(TARGETS), **options)  # type: ignore[arg-type]
    inject_adapter_in_model(config, model, adapter_name="one")
    torch.manual_seed(3)
    for name, weight in model.named_parameters():
        if ".lora_" in name:
            nn.init.normal_(weight, std=0.3)
    if lean:
        use_lean_adapters(model)
    found: nn.Module = model
    return found


def lean_layers(model: nn.Module) -> int:
    return sum(isinstance(module, LeanLinear) for module in model.modules())


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (4, 1)])
def test_values_and_gradients_are_pefts(shape: tuple[int, int]) -> None:
    ids = torch.arange(shape[0] * shape[1]).reshape(shape) % 17 + 1
    found = []
    for lean in (False, True):
        model = adapted(lean)
        assert lean_layers(model) == (6 if lean else 0)
        logits = model(ids).logits
        logits.logsumexp(-1).sum().backward()
        grads = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        found.append((logits.detach(), grads))
    (theirs, their_grads), (ours, our_grads) = found
    assert torch.allclose(theirs, ours, rtol=1e-5, atol=1e-6)
    assert their_grads.keys() == our_grads.keys()
    assert len(our_grads) == 12
    for name, grad in their_grads.items():
        assert (grad - our_grads[name]).norm() <= 1e-5 * grad.norm() + 1e-9, name


def test_under_autocast_it_is_pefts_own() -> None:
    ids = torch.arange(1, 13)[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs, ours = (adapted(lean)(ids).logits for lean in (False, True))
    assert torch.equal(theirs, ours)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_the_adapter_that_is_switched_on_is_the_one_that_counts() -> None:
    """Two of them in one model, one after the other; all off is the model beneath, to the bit."""
    ids = torch.arange(1, 13)[None]
    found = []
    for lean in (False, True):
        model = adapted(lean)
        inject_adapter_in_model(LoraConfig(r=2, lora_alpha=6, target_modules=list(TARGETS)), model, adapter_name="two")
        torch.manual_seed(4)
        for name, weight in model.named_parameters():
            if ".two." in name:
                nn.init.normal_(weight, std=0.3)
        layers = [module for module in model.modules() if isinstance(module, Linear)]
        logits = []
        for adapter in ("one", "two", "one", None, ["one", "two"]):
            for layer in layers:
                layer.enable_adapters(adapter is not None)
                if adapter is not None:
                    layer.set_adapter(adapter)
            logits.append(model(ids).logits.detach())
        found.append(logits)
    theirs, ours = found
    assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-6) for one, other in zip(theirs, ours, strict=True))
    assert torch.equal(ours[3], tiny.llama()(ids).logits)
    assert not torch.allclose(ours[0], ours[1], atol=1e-3)


def test_what_was_merged_is_not_added_again() -> None:
    ids = torch.arange(1, 13)[None]
    model = adapted(True)
    before = model(ids).logits
    for module in model.modules():
        if isinstance(module, Linear):
            module.merge()
    assert torch.allclose(model(ids).logits, before, rtol=1e-4, atol=1e-5)


def test_another_precision_is_left_to_peft() -> None:
    model = adapted(False).to(torch.float64)
    use_lean_adapters(model)
    assert lean_layers(model) == 0
    assert LeanLinear.forward(_first(adapted(True).double()), torch.ones(2, 32).double()).dtype == torch.float64


def _first(model: nn.Module) -> LeanLinear:
    return next(module for module in model.modules() if isinstance(module, LeanLinear))


@pytest.mark.filterwarnings("ignore:`lora_bias=True`")
@pytest.mark.parametrize("options", [{"lora_dropout": 0.1}, {"lora_bias": True}, {"use_dora": True}])
def test_other_adapters_are_left_to_peft(options: dict[str, object]) -> None:
    assert lean_layers(adapted(True, **options)) == 0


def test_other_layers_are_left_to_peft() -> None:
    gpt2 = tiny.KINDS["gpt2"]()
    network = LoraNetwork(gpt2, False, Adapters(gpt2, LoraSpec(4, 8, ("c_attn",))), None)
    policy = network.copy(("a",))
    assert lean_layers(gpt2) == 0
    assert any(type(module) is Linear for module in gpt2.modules())
    del policy


def test_policies_of_an_engine_use_them() -> None:
    llama = tiny.llama()
    network = LoraNetwork(llama, False, Adapters(llama, LoraSpec(4, 8, TARGETS)), None)
    policy = network.copy(("a",))
    assert lean_layers(llama) == 6
    del policy
