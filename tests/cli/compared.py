"""Run directories for compare, as much of them as it reads, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from apl_bench.cli.main import main
from apl_bench.spec import RunSpec

TABLES: dict[str, dict[str, Any]] = {
    "task": {"name": "imdb", "source": "package"},
    "strategy": {"name": "random"},
    "oracle": {"name": "classifier", "model": "oracle"},
    "judge": {"name": "classifier", "model": "judge"},
    "policy": {"model": "tiny", "revision": None, "dtype": "float32", "num_threads": 1},
    "loop": {
        "regime": "restart",
        "budget": 8,
        "labels_per_step": 4,
        "prompts_per_step": 8,
        "oversample": 1,
        "num_entropy_samples": 1,
        "waypoints": [0, 8],
    },
    "sampling": {"train_temperature": 0.7, "test_temperature": 0.25},
    "training": {
        "learning_rate": 1e-4,
        "beta": 0.2,
        "batch_size": 4,
        "epochs": 1,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 1.0,
    },
    "evaluation": {"num_prompts": 4, "num_probe_prompts": 0},
    "judging": {"order": "random"},
}
VERDICTS = {"w": "first", "l": "second", "t": "tie", "x": "invalid"}

Write = Callable[..., Path]


def write_run(root: Path, strategy: str, seed: int, outcomes: str, **changes: Any) -> Path:
    """A complete run below `root`, with one letter of `outcomes` a test prompt at the last waypoint."""
    tables = {name: dict(table) for name, table in TABLES.items()}
    tables["strategy"] = {"name": strategy, **changes.pop("params", {})}
    is_complete, prompts = changes.pop("complete", True), changes.pop("prompts", "abcd")
    preset, probabilities = changes.pop("preset", "lite"), changes.pop("probabilities", [0.9, 0.2])
    manifest, is_sound = changes.pop("manifest", {}), changes.pop("sound", True)
    for key, value in changes.items():
        table, _, name = key.partition("__")
        tables[table][name] = value
    spec = RunSpec.from_tables(preset, tables, seed)
    path = root / "runs" / f"imdb-{preset}" / strategy / f"seed-{seed:03d}-{spec.identity[:8]}"
    path.mkdir(parents=True)
    identity = {"identity": spec.identity, "spec": spec.to_tables()}
    (path / "spec.json").write_text(json.dumps({**identity, **manifest}))
    for num_labels, letters in ((0, "wlwl"[: len(outcomes)]), (8, outcomes)):
        rows = [comparison_row(prompt, letter) for prompt, letter in zip(prompts, letters, strict=True)]
        write_rows(path / "waypoints" / f"{num_labels:04d}.jsonl", rows)
    for step, row in enumerate(result(seed, probabilities)["steps"], start=1):
        write_rows(path / "steps" / f"{step:04d}.jsonl", step_rows(step, row["probability_of_label"]))
    if is_complete:
        (path / "result.json").write_text(json.dumps({**result(seed, probabilities), "sound": is_sound}))
    return path


def comparison_row(prompt: str, letter: str) -> dict[str, Any]:
    """A test comparison: the policy's text is twice as long as the opponent's on every other prompt."""
    texts = {"policy": {"text": "good " * (1 + ord(prompt) % 2)}, "opponent": {"text": "good"}}
    return {"kind": "comparison", "prompt_id": prompt, "verdict": VERDICTS[letter], "swapped": prompt in "bd",
            "keys": [f"{prompt}-key"], **texts}  # fmt: skip


def step_rows(step: int, probabilities: Sequence[float]) -> list[dict[str, Any]]:
    """A batch of labels that theta_t gave these probabilities to; the strategy's score of a pair is its |margin|."""
    margins = [math.log(p / (1 - p)) for p in probabilities]
    head = {"kind": "step", "step": step, "num_generated": 0, "num_scored": 0, "diagnostics": {}}
    candidates = [
        {"kind": "candidate", "row": row, "scores": [[0, 1, abs(margin)]]} for row, margin in enumerate(margins)
    ]
    pair = {"first": 0, "second": 1, "verdict": "first", "swapped": False}
    labels = [{"kind": "label", "row": row, "margin": margin, **pair} for row, margin in enumerate(margins)]
    return [head, *candidates, *labels]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def result(seed: int, probabilities: Sequence[float]) -> dict[str, Any]:
    """As much of result.json as compare reads."""
    waypoints = [
        {"num_labels": num, "kl": seed + num, "mean_length": 20.0, "repetition": 0.1, "perplexity": None}
        for num in (0, 8)
    ]
    batches = [[0.5] * len(probabilities), list(probabilities)]
    steps = [{"probability_of_label": batch, "num_pairs": len(batch), "num_generated_tokens": 100 * len(batch),
              "num_scored_tokens": 0} for batch in batches]  # fmt: skip
    return {"waypoints": waypoints, "steps": steps}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def rows_of(*arguments: object) -> dict[str, dict[str, Any]]:
    """Strategies of the only comparison that --json prints, by name."""
    done = call(*arguments, "--json")
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    return {row["strategy"]: row for row in found["rows"]}
