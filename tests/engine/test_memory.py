"""What is asked of the C library and the kernel, and that it costs no number."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from apl_bench.engine.huggingface import HuggingFaceEngine
from apl_bench.engine.memory import keep_freed_memory, let_go_of_files
from apl_bench.engine.network import Network
from tests.engine import tiny

SIZE = 1 << 20  # floats

on_linux = pytest.mark.skipif(platform.system() != "Linux", reason="only Linux tells what of a file is in memory")


def test_glibc_keeps_freed_memory_and_others_are_left_alone() -> None:
    assert keep_freed_memory() is (platform.libc_ver()[0] == "glibc")


def mapped(folder: Path) -> torch.Tensor:
    """A tensor that is a view of a file, all of it read."""
    save_file({"weight": torch.arange(SIZE, dtype=torch.float32)}, folder / "model.safetensors")
    weight = load_file(folder / "model.safetensors")["weight"]
    assert float(weight.sum()) > 0
    return weight


def resident_bytes(path: Path) -> int:
    """How much of a file this process has in memory."""
    areas = Path("/proc/self/smaps").read_text(encoding="utf-8").split("VmFlags")
    (area,) = (area for area in areas if str(path) in area)
    (line,) = (line for line in area.splitlines() if line.startswith("Rss:"))
    return int(line.split()[1]) * 1024


def is_in_memory(folder: Path) -> bool:
    """Whether the folder's files have no other place than memory."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], check=True, capture_output=True, text=True).stdout
    return kind.strip() in ("tmpfs", "ramfs")


@on_linux
def test_files_leave_memory_and_are_read_again(tmp_path: Path) -> None:
    if is_in_memory(tmp_path):
        pytest.skip("files of this folder have no other place than memory")
    weight = mapped(tmp_path)
    assert resident_bytes(tmp_path / "model.safetensors") >= weight.nbytes
    let_go_of_files([weight])
    assert resident_bytes(tmp_path / "model.safetensors") < weight.nbytes / 4
    assert torch.equal(weight, torch.arange(SIZE, dtype=torch.float32))


@on_linux
def test_what_was_written_stays(tmp_path: Path) -> None:
    """As where an adapter was merged into the weights of a checkpoint."""
    weight = mapped(tmp_path)
    weight[: SIZE // 2] += 1.0
    let_go_of_files([weight, torch.ones(3)])
    assert torch.equal(weight[: SIZE // 2], torch.arange(1, SIZE // 2 + 1, dtype=torch.float32))
    assert torch.equal(weight[SIZE // 2 :], torch.arange(SIZE // 2, SIZE, dtype=torch.float32))


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    let_go_of_files([torch.ones(3)])


@pytest.mark.parametrize("large", [False, True])
def test_a_large_theta_0_is_set_aside_while_a_policy_trains(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.large_network("llama") if large else tiny.network("llama")
    asked = let_go_during_training(network, monkeypatch)
    assert asked == ([list(network.parameters.values())] if large else [])


def test_not_where_policies_are_adapters_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from apl_bench.engine.lora import Adapters, LoraNetwork
    from apl_bench.spec import LoraSpec

    model = tiny.llama()
    network = LoraNetwork(model, False, Adapters(model, LoraSpec(2, 4, ("q_proj",))), None)
    network.is_small = False
    assert let_go_during_training(network, monkeypatch) == []


def let_go_during_training(network: Network, monkeypatch: pytest.MonkeyPatch) -> list[list[torch.Tensor]]:
    """What the kernel is asked to drop while a policy is made from this theta_0."""
    asked: list[list[torch.Tensor]] = []
    monkeypatch.setattr("apl_bench.engine.huggingface.let_go_of_files", lambda tensors: asked.append(list(tensors)))
    engine = HuggingFaceEngine(network, tiny.tokenizer(), (tiny.EOS,))
    engine.finetune(engine.reference(), tiny.preferences(3), tiny.training(), ("test",))
    return asked
