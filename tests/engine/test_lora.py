"""Adapters: one model in memory, theta_0 untouched, and policies that do not disturb each other."""

from __future__ import annotations

import copy
import gc
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from apl_bench.engine import scoring, shared
from apl_bench.engine.huggingface import HuggingFaceEngine
from apl_bench.engine.lora import Adapters, LoraNetwork
from apl_bench.spec import LoraSpec
from apl_bench.types import Completion, Prompt, SpecError
from tests.engine import tiny

TARGETS = {"gpt2": ("c_attn", "c_proj"), "llama": ("q_proj", "v_proj", "down_proj"), "neox": ("query_key_value",)}
TEXTS = tiny.sequences(12)


def network(kind: str = "llama") -> LoraNetwork:
    model = tiny.KINDS[kind]()
    return LoraNetwork(model, False, Adapters(model, LoraSpec(4, 8, TARGETS[kind])), None)


def engine(kind: str = "llama") -> HuggingFaceEngine:
    return HuggingFaceEngine(network(kind), tiny.tokenizer(), (tiny.EOS,))


def scores(of: LoraNetwork) -> list[float]:
    return [float(value) for value in scoring.logp(of, TEXTS)]


@pytest.mark.parametrize("kind", TARGETS)
def test_a_new_adapter_changes_no_bit_and_theta_0_is_the_plain_model(kind: str) -> None:
    base = network(kind)
    plain = scoring.logp(tiny.network(kind), TEXTS).tolist()
    assert scores(base) == plain
    assert scores(base.copy(("a",))) == plain
    assert scores(base) == plain


@pytest.mark.parametrize("kind", TARGETS)
def test_training_moves_the_policy_and_neither_theta_0_nor_other_policies(kind: str) -> None:
    owner = engine(kind)
    before = owner.identity()["weights_sha256"]
    first, _ = owner.finetune(owner.reference(), tiny.preferences(6), tiny.training(), (1, "training"))
    was = scores(first.network)  # type: ignore[arg-type]
    second, _ = owner.finetune(first, tiny.preferences(6, seed=1), tiny.training(), (2, "training"))
    assert scores(first.network) == was != scores(second.network)  # type: ignore[arg-type]
    assert scores(owner.reference().network) == scoring.logp(tiny.network(kind), TEXTS).tolist()  # type: ignore[arg-type]
    assert owner.identity()["weights_sha256"] == before


def test_training_again_gives_the_same_bits_and_another_stream_does_not() -> None:
    found: list[list[float]] = []
    for name in ("a", "a", "b"):
        owner = engine()
        torch.rand(len(found) + 1)  # whatever was drawn before
        policy, _ = owner.finetune(owner.reference(), tiny.preferences(6), tiny.training(), (1, name))
        found.append(scores(policy.network))  # type: ignore[arg-type]
    assert found[0] == found[1] != found[2]


def test_the_gradient_is_that_of_peft() -> None:
    """Against peft's own way to put an adapter around a model, with the same weights in it."""
    mine = network().copy(("a",))
    config = LoraConfig(r=4, lora_alpha=8, target_modules=list(TARGETS["llama"]), lora_dropout=0.0)
    theirs = get_peft_model(copy.deepcopy(tiny.KINDS["llama"]()), config)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "lora" in name:
                key = name.removeprefix("base_model.model.").replace(".default.", ".")
                weight.copy_(mine.parameters[key].copy_(torch.full_like(weight, 0.1)))
    prompt, completion = (5, 6, 7), (8, 9, 10)
    logp = theirs(torch.tensor([[*prompt, *completion]])).logits[0].log_softmax(-1)
    (-sum(logp[2 + place, token] for place, token in enumerate(completion))).backward()
    (-shared.logp_of_groups(mine, [shared.Group(prompt, (completion, (11,)))])[0]).backward()  # type: ignore[no-untyped-call]
    for name, weight in theirs.named_parameters():
        if "lora" in name:
            key = name.removeprefix("base_model.model.").replace(".default.", ".")
            torch.testing.assert_close(mine.parameters[key].grad, weight.grad, rtol=1e-4, atol=1e-6)


def test_only_the_adapter_is_trained_and_saved(tmp_path: Path) -> None:
    owner = engine()
    policy, _ = owner.finetune(owner.reference(), tiny.preferences(6), tiny.training(), (1, "training"))
    names = set(policy.network.parameters)
    assert names
    assert all("lora_" in name and "policy" not in name for name in names)
    owner.save(policy, tmp_path / "policy.safetensors")
    other = engine()
    loaded = other.load(tmp_path / "policy.safetensors")
    prompt, completion = Prompt("p", "abc"), Completion("de", (101, 102), False)
    assert loaded.logp([prompt], [completion]) == policy.logp([prompt], [completion])


def test_an_adapter_that_nobody_holds_any_more_leaves_the_model_when_the_next_is_made() -> None:
    base = network()
    num_before = len(list(base.model.parameters()))
    adapters = [base.copy(("a",)), base.copy(("b",))]
    num_each = len(adapters[0].parameters)
    assert len(list(base.model.parameters())) == num_before + 2 * num_each > num_before
    adapters.clear()
    gc.collect()
    last = base.copy(("c",))
    assert len(list(base.model.parameters())) == num_before + num_each
    assert scores(last) == scores(base) == scoring.logp(tiny.network("llama"), TEXTS).tolist()


def test_an_adapter_that_goes_in_the_middle_of_anothers_pass_does_not_disturb_it() -> None:
    """Python's collector runs when it likes: it once switched all adapters off for the second half of a pass."""
    owner = engine()
    policy, _ = owner.finetune(owner.reference(), tiny.preferences(6), tiny.training(), (1, "training"))
    tuned, held = policy.network, [owner.reference().network.copy(("other",))]
    group = shared.Group((1, 2, 3), ((4, 5, 6), (7, 8)))
    expected = shared.logp_of_groups(tuned, [group])
    tuned.hidden(torch.ones((1, 2), dtype=torch.int64))
    layer = tuned.model.base_model.layers[0]
    with layer.register_forward_hook(lambda *_: held.clear()):
        found = shared.logp_of_groups(tuned, [group])
    assert tuned._adapters._dropped == ["policy2"]  # type: ignore[attr-defined]
    assert found.tolist() == expected.tolist()
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in tuned.parameters.values())


def test_layers_that_are_not_there_are_named() -> None:
    model = tiny.KINDS["llama"]()
    base = LoraNetwork(model, False, Adapters(model, LoraSpec(4, 8, ("q_prof",))), None)
    with pytest.raises(SpecError, match=r"lora\.targets is \['q_prof'\].*such as q_proj"):
        base.copy(("a",))
