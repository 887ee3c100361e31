"""On a real cluster of several nodes, one of which is killed: nothing is lost, and the bytes are those of `local`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from apl_bench.sweep.on_ray import imported
from apl_bench.types import SpecError
from tests.sweep.conftest import Alone
from tests.sweep.tiny import cell, written

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'apl-bench[ray]'")


def sweep_on_nodes(root: Path, num_nodes: int, strategies: str, seeds: str) -> str:
    command = [sys.executable, "-m", "tests.sweep.clustered", str(root), str(num_nodes), strategies, seeds]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=570)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(alone: Alone, tmp_path: Path, num_nodes: int, strategies: str, seeds: str) -> None:
    said = sweep_on_nodes(tmp_path / "nodes", num_nodes, strategies, seeds)
    assert said.splitlines()[-1] == "all done"
    assert f"killing a node of {num_nodes}" in said
    assert "\ndied " in said, "the node was at work"
    numbers = range(int(seeds.partition("-")[2]) + 1)
    named = [(name, seed) for seed in numbers for name in strategies.split(",")]
    here = [alone(name, seed) for name, seed in named]
    there = [cell(tmp_path / "nodes", name, seed) for name, seed in named]
    assert [written(each.path) for each in there] == [written(each.path) for each in here]


@needs_ray
def test_a_node_is_killed_and_nothing_is_lost(alone: Alone, tmp_path: Path) -> None:
    check(alone, tmp_path, 2, "random,certainty", "0-1")


@needs_ray
@pytest.mark.slow
def test_sixteen_cells_on_three_nodes_of_which_one_is_killed(alone: Alone, tmp_path: Path) -> None:
    check(alone, tmp_path, 3, "random,certainty,uncertainty,entropy", "0-3")


def test_without_ray_the_command_that_provides_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apl_bench.sweep.on_ray.find_spec", lambda _name: None)
    with pytest.raises(SpecError, match=r"pip install 'apl-bench\[ray\]'"):
        imported()
