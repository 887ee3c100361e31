"""Where a policy comes from, and what is said when it is not there."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from apl_bench.engine import models
from apl_bench.engine.huggingface import load_engine
from apl_bench.engine.memory import keep_freed_memory
from apl_bench.engine.models import PolicyTokenizer, eos_ids, load_model
from apl_bench.spec import PolicySpec
from apl_bench.types import Completion, Prompt, SpecError
from tests.engine import tiny


def spec(model: str | Path, revision: str | None = None) -> PolicySpec:
    return PolicySpec(str(model), revision, "float32", 1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder as save_pretrained writes it, in half precision as the shipped policy's."""
    folder = tmp_path / "checkpoint"
    tiny.gpt2().half().save_pretrained(folder)
    tiny.tokenizer().inner.save_pretrained(folder)
    return folder


def test_a_folder_becomes_an_engine_in_fp32(checkpoint: Path) -> None:
    engine = load_engine(spec(checkpoint))
    assert engine.reference().network.head.weight_VD.dtype == torch.float32
    assert engine.reference().eos_ids == (tiny.EOS,)
    assert engine.identity()["num_threads"] == 1
    logp = engine.reference().logp([Prompt("p", "a film")], [Completion("!", (5, 7), False)])
    assert np.isfinite(logp).all()


def test_a_shipped_policy_is_found_by_name(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = checkpoint.parent
    (package / "models").mkdir()
    checkpoint.rename(package / "models" / "reviews")
    monkeypatch.setattr(models, "files", lambda _: package)
    assert load_model(spec("shipped:reviews"))[0].config.n_embd == 32
    with pytest.raises(SpecError, match=r"no shipped policy called 'review'. Did you mean 'reviews'\?"):
        load_model(spec("shipped:review"))
    with pytest.raises(SpecError, match=r"no shipped policy called '\.\./models/reviews'"):
        load_model(spec("shipped:../models/reviews"))


@pytest.mark.parametrize("model", ["/no/such/folder", "./nor/this", "https://example.org/model", "", "owner/name.gguf"])
def test_neither_folder_nor_hub_id(model: str) -> None:
    with pytest.raises(SpecError, match=r"where there is nothing; expected shipped:NAME, wheel:NAME, a folder"):
        load_model(spec(model))


@pytest.mark.parametrize("revision", [None, "main", "0" * 39])
def test_a_hub_model_needs_a_commit(revision: str | None) -> None:
    with pytest.raises(SpecError, match=r"needs the 40-digit commit"):
        load_model(spec("owner/name", revision))


def test_a_hub_model_out_of_reach_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(SpecError, match=r"'owner/name' could not be loaded: .* the hub within reach"):
        load_model(spec("owner/name", "0" * 40))


def test_pickled_weights_are_not_read(checkpoint: Path) -> None:
    torch.save(tiny.gpt2().state_dict(), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(SpecError, match=r"could not be loaded: .*Expected config\.json, model\.safetensors"):
        load_model(spec(checkpoint))


def test_several_eos_tokens_and_none() -> None:
    tokenizer = tiny.tokenizer()
    config = SimpleNamespace(eos_token_id=[3, 4])
    assert eos_ids(SimpleNamespace(generation_config=config), tokenizer) == (3, 4)
    assert eos_ids(SimpleNamespace(generation_config=None), tokenizer) == (tiny.EOS,)
    bare = PolicyTokenizer(SimpleNamespace(eos_token_id=None))
    assert eos_ids(SimpleNamespace(generation_config=None), bare) == ()


class SpaceDropper:
    """A tokenizer that, as sentencepiece does, drops the space before a text's first word."""

    words = ("_good", "_film")

    def decode(self, token_ids: list[int], **_: object) -> str:
        return "".join(self.words[token] for token in token_ids).replace("_", " ").lstrip()


def test_a_completion_keeps_the_space_before_its_first_word() -> None:
    assert PolicyTokenizer(SpaceDropper()).continuation((0,), (1, 0)) == " film good"


def test_checksum_follows_the_vocabulary() -> None:
    small = PolicyTokenizer(SimpleNamespace(get_vocab=lambda: {"a": 0}))
    large = PolicyTokenizer(SimpleNamespace(get_vocab=lambda: {"a": 0, "b": 1}))
    assert small.checksum() != large.checksum()
    assert tiny.tokenizer().checksum() == tiny.tokenizer().checksum()


def test_the_package_alone_imports_no_torch() -> None:
    code = "import apl_bench.engine, sys; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_glibc_keeps_freed_memory_and_others_are_left_alone() -> None:
    assert keep_freed_memory() is (platform.libc_ver()[0] == "glibc")
