"""An adapter that is part of theta_0: its weights are the sum, and nothing else of it is left."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from apl_bench.engine.huggingface import load_engine
from apl_bench.engine.lora import FILES, merged
from apl_bench.spec import LoraSpec, PolicySpec
from apl_bench.types import SpecError
from tests.engine import tiny

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny model with its tokenizer, and beside it, in `adapter`, one that changes it."""
    torch.manual_seed(0)
    model = tiny.llama()
    model.save_pretrained(tmp_path / "model")
    tiny.tokenizer().inner.save_pretrained(tmp_path / "model")
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.3)
    adapted.save_pretrained(str(tmp_path / "adapter"))
    torch.save(adapted(IDS).logits.detach(), tmp_path / "logits.pt")
    return tmp_path


def policy(checkpoint: Path, adapter: str | None) -> PolicySpec:
    return PolicySpec(str(checkpoint / "model"), None, "float32", 1, adapter)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def test_the_sum_computes_what_peft_computes(checkpoint: Path) -> None:
    plain = tiny.llama()
    model = merged(copy.deepcopy(plain), str(checkpoint / "adapter"))
    torch.testing.assert_close(logits(model), torch.load(checkpoint / "logits.pt"), rtol=0, atol=1e-4)
    assert (logits(model) - logits(plain)).abs().max() > 0.1
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in plain.named_parameters()}


@pytest.mark.parametrize("lora", [None, LoraSpec(2, 4, ("q_proj",))])
def test_it_is_theta_0_and_what_is_trained_begins_there(checkpoint: Path, lora: LoraSpec | None) -> None:
    plain = load_engine(policy(checkpoint, None), lora)
    engine = load_engine(policy(checkpoint, str(checkpoint / "adapter")), lora)
    assert engine.identity()["weights_sha256"] != plain.identity()["weights_sha256"]
    before = logits(engine.reference().network.model)
    tuned, report = engine.finetune(engine.reference(), tiny.preferences(6), tiny.training(), (1, "training"))
    assert report.num_updates > 0
    engine.reference().logp([], [])
    if lora is None:
        assert torch.equal(logits(engine.reference().network.model), before)
        assert not torch.equal(logits(tuned.network.model), before)


def test_what_is_no_adapter_is_refused(checkpoint: Path) -> None:
    model, adapter = tiny.llama(), checkpoint / "adapter"
    with pytest.raises(SpecError, match=r"policy\.adapter is '/no/where', where there is no adapter.*adapter_model"):
        merged(model, "/no/where")
    with pytest.raises(SpecError, match=r"no shipped adapter called 'smolm2-tldr'\. Did you mean 'smollm2-tldr'"):
        merged(model, "shipped:smolm2-tldr")
    with pytest.raises(SpecError, match=r"policy\.adapter is 'shipped:\.\./models"):
        merged(model, "shipped:../models/imdb-gpt2-v2")
    (adapter / FILES[1]).write_bytes(b"not safetensors")
    with pytest.raises(SpecError, match=r"does not fit policy\.model"):
        merged(model, str(adapter))
    shutil.copy(checkpoint / "model" / "config.json", adapter / FILES[0])
    with pytest.raises(SpecError, match=r"does not fit policy\.model"):
        merged(model, str(adapter))


def test_another_models_adapter_is_refused(checkpoint: Path) -> None:
    with pytest.raises(SpecError, match=r"does not fit policy\.model"):
        merged(tiny.gpt2(), str(checkpoint / "adapter"))
