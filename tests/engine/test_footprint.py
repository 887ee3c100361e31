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


def test_tokens_may_take_as_much_as_training_takes_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network("llama")
    state = 4 * sum(weight.nbytes for weight in network.parameters.values())
    for room in (state // 2, 2 * state):
        monkeypatch.setattr(footprint, "CPU_ROOM", dict.fromkeys(footprint.CPU_ROOM, room))
        assert new_training_budget(network).num_tokens == int(max(room, state) / kept_bytes_a_token(network))
    monkeypatch.setattr(footprint, "MOST_TRAINING_ROOM", 3 * state)  # the room is two states by now
    assert new_training_budget(network).num_tokens == int(2 * state / kept_bytes_a_token(network))
    monkeypatch.setattr(footprint, "CPU_ROOM", dict.fromkeys(footprint.CPU_ROOM, 0))
    monkeypatch.setattr(footprint, "MOST_TRAINING_ROOM", state // 2)
    assert new_training_budget(network).num_tokens == int(state // 2 / kept_bytes_a_token(network))


def test_the_first_policy_that_trains_finds_the_budget_for_all() -> None:
    reference = tiny.network("llama")
    first, second = reference.copy(("first",)), reference.copy(("second",))
    budget = first.training_budget
    assert isinstance(budget, TokenBudget)
    assert second.training_budget is budget is reference.training_budget
