"""What a token takes, measured: by hand for keys and values, against theory for what training keeps."""

from __future__ import annotations

import pytest
import torch

from apl_bench.engine import footprint
from apl_bench.engine.device import TokenBudget
from apl_bench.engine.footprint import cached_bytes_a_token, kept_bytes_a_token, new_budgets, new_training_budget
from apl_bench.engine.lora import Adapters, LoraNetwork
from apl_bench.spec import LoraSpec
from tests.engine import tiny


def test_keys_and_values_by_hand() -> None:
    """Two layers of keys and values, in fp32; those of two of the llama's four heads are shared."""
    assert cached_bytes_a_token(tiny.network("gpt2")) == 2 * 2 * 32 * 4
    assert cached_bytes_a_token(tiny.network("llama")) == 2 * 2 * 16 * 4


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_training_keeps_at_least_the_inputs_of_its_layers(kind: str) -> None:
    network = tiny.network(kind)
    kept = kept_bytes_a_token(network)
    linear = [module for module in network.model.base_model.modules() if isinstance(module, torch.nn.Linear)]
    assert kept >= 4 * sum({module.in_features for module in linear})
    assert kept < 4 * 2 * 100 * 64
    assert all(weight.grad is None for weight in network.parameters.values())


def test_adapters_keep_less() -> None:
    model = tiny.llama()
    adapter = LoraNetwork(model, False, Adapters(model, LoraSpec(2, 4, ("q_proj",))), None).copy(("a",))
    assert 0 < kept_bytes_a_token(adapter) < kept_bytes_a_token(tiny.network("llama"))


def test_budgets_are_what_fits_into_the_room_and_no_more_than_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network("llama")
    assert network.budgets.sampling.num_tokens == footprint.MOST_TOKENS["cpu"]["sampling"]
    assert tiny.large_network("llama").budgets.sampling.num_tokens == footprint.MOST_TOKENS["cpu, large"]["sampling"]
    assert network.training_budget.num_tokens == footprint.MOST_TOKENS["cpu"]["training"]
    monkeypatch.setattr(footprint, "CPU_ROOM", dict.fromkeys(footprint.CPU_ROOM, 300 * 256))
    assert new_budgets(network).scoring.num_tokens == 300


def test_training_has_room_for_what_its_tokens_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network("llama")
    monkeypatch.setattr(footprint, "CPU_ROOM", dict.fromkeys(footprint.CPU_ROOM, 1 << 20))
    assert new_training_budget(network).num_tokens == int((1 << 20) / kept_bytes_a_token(network))


def test_what_is_kept_is_what_is_held() -> None:
    """By hand: of a linear layer its input, however often it is looked at; of a sum nothing."""
    x, weight = torch.randn(10, 4, requires_grad=True), torch.randn(4, 4, requires_grad=True)
    with footprint.LiveArrays() as made:
        doubled = x * 2.0
        product = doubled @ weight + doubled @ weight
        total = (product + 1.0).sum()
    assert sorted(size for _, size in made.found()) == [4, 10 * 4 * 4, 10 * 4 * 4]  # product and doubled
    del product
    assert sorted(size for _, size in made.found()) == [4, 10 * 4 * 4]
    total.backward()  # type: ignore[no-untyped-call]


def test_packed_attention_repeats_no_keys_and_keeps_what_comes_out_once() -> None:
    """Bytes a token: in each of two layers half of keys and of values, which two heads share, and a mask in one."""
    padded, packed = (kept_bytes_a_token(make("llama")) for make in (tiny.network, tiny.large_network))
    length = 32 + 15 + 15
    assert padded - packed == pytest.approx(2 * 4 * (16 + 16) + 4 * length, rel=0.05)


def test_a_head_whose_gradient_is_autograds_counts() -> None:
    """Granite's has a scale: its log-probabilities of 32 predicted tokens are kept, not all of the hidden states."""
    network = tiny.network("granite")
    with_head = kept_bytes_a_token(network)
    object.__setattr__(network.head, "scale", 1.0)
    assert with_head - kept_bytes_a_token(network) >= 4 * tiny.VOCABULARY * 32 / 62 - 4 * 32


def test_the_first_policy_that_trains_finds_the_budget_for_all() -> None:
    reference = tiny.network("llama")
    first, second = reference.copy(("first",)), reference.copy(("second",))
    budget = first.training_budget
    assert isinstance(budget, TokenBudget)
    assert second.training_budget is budget is reference.training_budget
