"""Sequence classifiers and reward models as oracles: what is not read, not run, not to be had, and cannot be."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DistilBertModel

from apl_bench.oracles.huggingface import HuggingFace
from apl_bench.types import SpecError
from tests.engine.tiny import with_seed
from tests.fake_hub import offline
from tests.oracles.checkpoints import USUAL, distilbert, oracle

# What is not to be had


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("named", [False, True], ids=["found", "named by the config"])
def test_code_in_pickled_weights_is_not_run(copied: Path, tmp_path: Path, named: bool) -> None:
    name = "adapter_model.bin" if named else "pytorch_model.bin"
    torch.save({"evil": Evil(tmp_path / "ran")}, copied / name)
    (copied / "model.safetensors").unlink()
    if named:
        config = json.loads((copied / "config.json").read_text())
        (copied / "config.json").write_text(json.dumps(config | {"transformers_weights": name}))
    with pytest.raises(SpecError, match=r"could not be loaded: its pytorch_model\.bin holds more than tensors, .* run"):
        oracle({"distilbert": copied}, "distilbert")
    assert not (tmp_path / "ran").exists()


def test_code_that_comes_with_a_model_is_not_run(copied: Path) -> None:
    (copied / "evil.py").write_text("raise SystemExit('ran')")
    config = json.loads((copied / "config.json").read_text())
    del config["model_type"]
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match=r"could not be loaded"):
        oracle({"distilbert": copied}, "distilbert")


def test_a_model_without_a_classification_head_is_refused(copied: Path) -> None:
    """transformers would make up a random one, and warn."""
    with_seed(DistilBertModel, distilbert()[0].config).save_pretrained(copied)
    with pytest.raises(SpecError, match=r"has no weights for 'classifier\.bias': it was not saved as a sequence class"):
        oracle({"distilbert": copied}, "distilbert")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_says_what_was_expected(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(SpecError, match=r"could not be loaded: .* Expected .*model\.safetensors.* save_pretrained"):
        oracle({"distilbert": copied}, "distilbert")


def test_a_torn_file_of_weights_is_told(copied: Path) -> None:
    (copied / "model.safetensors").write_bytes((copied / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(SpecError, match=r"could not be loaded: .* Expected .*model\.safetensors.* save_pretrained"):
        oracle({"distilbert": copied}, "distilbert")


def hub_oracle(**changes: Any) -> HuggingFace:
    return HuggingFace(**{"model": "owner/name", "revision": "0" * 40, "score": "reward", **USUAL, **changes})


@pytest.mark.parametrize("model", ["/no/such/folder", "https://example.org/model", ""])
def test_neither_folder_nor_hub_id(model: str) -> None:
    with pytest.raises(SpecError, match=r"where there is no folder; expected a folder"):
        hub_oracle(model=model)


@pytest.mark.parametrize("revision", [None, "main", "0" * 39])
def test_a_hub_model_needs_a_commit(revision: str | None) -> None:
    with pytest.raises(SpecError, match=r"needs the 40-digit commit"):
        hub_oracle(revision=revision)


def test_a_folder_has_no_revision(folders: dict[str, Path]) -> None:
    with pytest.raises(SpecError, match=r"revision is .*; expected none, because .* is a folder"):
        oracle(folders, "gpt2", revision="0" * 40)


def test_a_hub_out_of_reach_says_how_to_get_the_model(tmp_path: Path) -> None:
    with offline(tmp_path), pytest.raises(SpecError, match=r"'owner/name' is not to be had .* hf download owner/name"):
        hub_oracle()


def test_without_torch_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, copied: Path) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        SpecError, match=r"the oracle 'hf' needs torch and transformers, and torch is missing; pip inst"
    ):
        oracle({"distilbert": copied}, "distilbert")


# What cannot be


@pytest.mark.parametrize(
    ("kind", "changes", "text"),
    [
        ("distilbert", {"score": "reward"}, r"score is 'reward'; expected .*: 0 NEGATIVE, 1 POSITIVE"),
        ("distilbert", {"score": 2}, r"score is 2; expected .*: 0 NEGATIVE, 1 POSITIVE"),
        ("distilbert", {"score": True}, r"score is True; expected .*: 0 NEGATIVE"),
        ("gpt2", {"score": "positive"}, r"score is 'positive'; expected 'reward', because the model has one output"),
        ("distilbert", {"scale": "logits"}, r"no scale called 'logits'\. Did you mean 'logit'"),
        ("gpt2", {"scale": "logit"}, r"scale is 'logit'; expected nothing, because the model has one output"),
        ("gpt2", {"truncation": "lef"}, r"no truncation side called 'lef'\. Did you mean 'left'"),
        ("gpt2", {"dtype": "float23"}, r"no dtype called 'float23'\. Did you mean 'float32'"),
        ("gpt2", {"device": "gpu"}, r"device is 'gpu'; expected auto, cpu"),
        ("gpt2", {"max_length": 7}, r"max_length is 7; expected a whole number from 8"),
        ("gpt2", {"batch_size": True}, r"batch_size is True; expected a whole number from 1"),
        ("gpt2", {"batch_size": 2}, r"batch_size is 2, and .* has no padding token"),
        ("gpt2", {"chat": True}, r"chat is true, and the tokenizer of .* has no chat template"),
        ("gpt2", {"chat": "yes"}, r"chat is 'yes'; expected true or false"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(
    folders: dict[str, Path], kind: str, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(SpecError, match=text):
        oracle(folders, kind, **changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_told(folders: dict[str, Path]) -> None:
    with pytest.raises(SpecError, match=r"device is 'cuda', and torch finds no CUDA device here"):
        oracle(folders, "gpt2", device="cuda")
