"""A run killed with SIGKILL at any moment goes on by the same command and ends with the same bytes in result.json."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SETTINGS = (
    "loop.budget=12", "loop.labels_per_step=4", "loop.prompts_per_step=8", "loop.num_entropy_samples=2",
    "loop.waypoints=[0, 4, 12]", "training.epochs=2", "training.batch_size=4", "evaluation.num_prompts=8",
    "evaluation.num_probe_prompts=4", "policy.num_threads=1",
)  # fmt: skip

# What is on disk when the kill falls: at the start, in step 1, in training, between steps, in an evaluation.
MOMENTS = [
    "spec.json",
    "waypoints/0000.jsonl",
    "steps/0001.jsonl",
    "state/policy-0001.safetensors",
    "steps/0003.jsonl",
    "waypoints/0012.jsonl",
]


def start(folder: Path, *extra: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "apl_bench", "run", "--strategy", "certainty", "--task", "imdb"]
    options = [f"--set={setting}" for setting in (*SETTINGS, *extra)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "APL_BENCH_CACHE_DIR": str(folder / "cache")}
    paths = ["--out", str(folder / "runs")]
    return subprocess.Popen(
        [*command, *options, *paths], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen[bytes]) -> str:
    output = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0, output
    return output


def result(folder: Path) -> bytes:
    (path,) = (folder / "runs").rglob("result.json")
    return path.read_bytes()


def kill_when(process: subprocess.Popen[bytes], folder: Path, file: str) -> None:
    """SIGKILL as soon as the file is there."""
    deadline = time.monotonic() + 120
    while not list((folder / "runs").glob(f"*/*/*/{file}")):
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < deadline, f"{file} never appeared"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("unbroken")
    finish(start(folder))
    return result(folder)


@pytest.mark.parametrize("regime", ["restart", "online"])
def test_a_run_killed_at_every_stage_ends_with_the_same_bytes(tmp_path: Path, unbroken: bytes, regime: str) -> None:
    extra = () if regime == "restart" else ("loop.regime=online",)
    expected = unbroken
    if regime == "online":
        finish(start(tmp_path / "other", *extra))
        expected = result(tmp_path / "other")
        assert expected != unbroken
    broken = tmp_path / "broken"
    for moment in MOMENTS if regime == "restart" else MOMENTS[2:5]:
        kill_when(start(broken, *extra), broken, moment)
        done = list(broken.rglob("result.json"))
        assert not done or moment == MOMENTS[-1], "only the last moment is so late that the run may end before the kill"
    assert ("complete already" if done else "going on after step") in finish(start(broken, *extra))
    assert result(broken) == expected


def test_a_complete_run_is_skipped(tmp_path: Path) -> None:
    finish(start(tmp_path))
    before = result(tmp_path)
    assert "complete already" in finish(start(tmp_path))
    assert result(tmp_path) == before
