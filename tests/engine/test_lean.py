"""Lean blocks: transformers' values to the bit, their gradients, less kept; what computes otherwise is left alone."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import GemmaConfig, GemmaForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from apl_bench.engine.footprint import kept_bytes_a_token
from apl_bench.engine.lean import LeanGated, LeanNorm, use_lean_blocks
from apl_bench.engine.lora import Adapters, LoraNetwork
from apl_bench.engine.network import Network
from apl_bench.spec import LoraSpec
from tests.engine import tiny

SIZE = 32


def norm() -> nn.Module:
    block: nn.Module = LlamaRMSNorm(SIZE, 1e-5)
    nn.init.normal_(next(block.parameters()))
    return block


def gated() -> nn.Module:
    block: nn.Module = LlamaMLP(tiny.llama().config)  # type: ignore[no-untyped-call]
    return block


BLOCKS: dict[type[nn.Module], Callable[[], nn.Module]] = {LeanNorm: norm, LeanGated: gated}


def with_their_own_blocks(model: nn.Module) -> nn.Module:
    """The tiny llama as transformers made it."""
    for module, old in zip(model.modules(), tiny.llama().modules(), strict=False):
        if isinstance(module, (LeanGated, LeanNorm)):
            module.__class__ = type(old)
    return model


def both(kind: type[nn.Module]) -> tuple[nn.Module, nn.Module]:
    """transformers' block, and a lean one with the same weights."""
    torch.manual_seed(1)
    theirs = BLOCKS[kind]()
    ours = copy.deepcopy(theirs)
    ours.__class__ = kind
    return theirs, ours


@pytest.mark.parametrize("kind", BLOCKS)
def test_values_are_transformers_to_the_bit(kind: type[nn.Module]) -> None:
    theirs, ours = both(kind)
    x = torch.randn(3, 5, SIZE, requires_grad=True)
    assert torch.equal(ours(x), theirs(x))
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_are_transformers(kind: type[nn.Module], frozen: bool) -> None:
    grads = []
    for block in both(kind):
        block.requires_grad_(not frozen)
        torch.manual_seed(2)
        x = torch.randn(3, 5, SIZE, requires_grad=True)
        (block(x) * torch.randn(3, 5, SIZE)).sum().backward()
        grads.append([x.grad, *(weight.grad for weight in block.parameters())])
    for theirs, ours in zip(*grads, strict=True):
        assert (theirs is None) == (ours is None)
        if theirs is not None and ours is not None:
            assert (theirs - ours).norm() <= 1e-6 * theirs.norm()


@pytest.mark.parametrize("kind", BLOCKS)
def test_gradients_agree_with_differences(kind: type[nn.Module]) -> None:
    block = both(kind)[1].double()
    x = torch.randn(2, SIZE, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))


def test_a_whole_model_keeps_less() -> None:
    lean = Network(tiny.llama(), mixed=False)
    plain = Network(tiny.llama(), mixed=False)
    with_their_own_blocks(plain.model)
    assert sum(isinstance(module, (LeanNorm, LeanGated)) for module in lean.model.modules()) == 7
    # by hand, floats of each of two layers: norms 2 x 32 less, gated layer 2 x 64 less; and a last norm
    saved = 4 * (2 * (2 * SIZE + 2 * 64) + SIZE)
    assert kept_bytes_a_token(plain) - kept_bytes_a_token(lean) == pytest.approx(saved, rel=0.1)


def test_the_product_is_not_kept() -> None:
    block = both(LeanGated)[1]
    products: list[weakref.ref[torch.Tensor]] = []

    def see(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        products.append(weakref.ref(inputs[0]))

    block.get_submodule("down_proj").register_forward_pre_hook(see)
    y = block(torch.randn(2, SIZE, requires_grad=True))
    assert products[0]() is None
    y.sum().backward()


def test_adapters_train_through_lean_blocks() -> None:
    grads = []
    for prepare in (lambda model: model, with_their_own_blocks):
        model = tiny.llama()
        theta_0 = LoraNetwork(model, False, Adapters(model, LoraSpec(4, 8, ("gate_proj", "down_proj"))), None)
        prepare(model)
        policy = theta_0.copy(("test",))
        policy.hidden(torch.arange(1, 9).view(1, 8)).sum().backward()  # type: ignore[no-untyped-call]
        grads.append({name: weight.grad for name, weight in policy.parameters.items()})
    ours, theirs = grads
    for name, grad in theirs.items():
        assert grad is not None
        assert torch.allclose(ours[name], grad, rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]


def test_a_copy_uses_its_own_weights() -> None:
    block = both(LeanNorm)[1]
    twin = copy.deepcopy(block)
    with torch.no_grad():
        twin.weight.mul_(2)  # type: ignore[operator]
    x = torch.randn(2, SIZE)
    assert torch.equal(twin(x), 2 * block(x))


def test_blocks_that_compute_otherwise_are_left_alone() -> None:
    gemma = GemmaForCausalLM(GemmaConfig(**tiny.SHARED, num_key_value_heads=2, head_dim=8))  # 1 + weight, and gelu
    for model in (gemma, tiny.gpt2(), tiny.neox(), tiny.gemma2()):
        use_lean_blocks(model)
        assert not any(isinstance(module, (LeanNorm, LeanGated)) for module in model.modules())


def test_a_norm_whose_weights_hide_the_difference_is_told_apart() -> None:
    class TwiceRMSNorm(LlamaRMSNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    model = tiny.llama()
    model.model.norm.__class__ = TwiceRMSNorm
    use_lean_blocks(model)
    assert type(model.model.norm) is TwiceRMSNorm
    assert isinstance(model.model.layers[0].input_layernorm, LeanNorm)
