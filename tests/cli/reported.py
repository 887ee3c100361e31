"""Runs whose oracle and judge really judged, for judge-report, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from apl_bench.cli.main import main
from apl_bench.expressions import parse
from apl_bench.judging import Judged, Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.records import completion_row, judged_row, to_json
from apl_bench.spec import RunSpec
from apl_bench.types import Completion, Pair, Prompt
from apl_bench.wrapping import create_oracle

LONGER = ("simulated(reward=length, temperature={temperature}, tie_margin=0, position_bias={bias}, "
          "invalid_rate={invalid}, seed=0)")  # fmt: skip
EXACT = LONGER.format(temperature=0, bias=0, invalid=0)  # the text with more words
NOISY = LONGER.format(temperature=2, bias=0.3, invalid=0.2)
FIRST = "position_bias(1, " + EXACT + ")"

TABLES: dict[str, dict[str, Any]] = {
    "task": {"name": "imdb", "source": "package"},
    "strategy": {"name": "certainty"},
    "policy": {"model": "tiny", "revision": None, "dtype": "float32", "num_threads": 1},
    "loop": {"regime": "restart", "budget": 8, "labels_per_step": 4, "prompts_per_step": 8, "oversample": 1,
             "num_entropy_samples": 1, "waypoints": [0, 8]},
    "sampling": {"train_temperature": 0.7, "test_temperature": 0.25},
    "training": {"learning_rate": 1e-4, "beta": 0.2, "batch_size": 4, "epochs": 1, "adam_beta1": 0.9,
                 "adam_beta2": 0.999, "adam_epsilon": 1e-8, "max_grad_norm": 1.0},
    "evaluation": {"num_prompts": 6, "num_probe_prompts": 0},
}  # fmt: skip

Write = Callable[..., Path]


def texts(num: int, shift: int) -> list[Pair]:
    """Pairs of up to nine words; where the first has more changes from one to the next."""

    def text(length: int, name: str) -> Completion:
        return Completion(f"{' word' * length} {name}", (1, 2), finished=True)

    return [
        Pair(Prompt(f"p{i}", f"Film {i} was"), text((i + shift) % 4 + 1, "us"), text(3 * i % 5 + 1, "them"))
        for i in range(num)
    ]  # fmt: skip


def write_run(root: Path, oracle: str, judge: str, order: str = "random", seed: int = 0) -> Path:
    """A complete run below `root` whose oracle and judge really judged its pairs."""
    parts = {"oracle": parse(oracle), "judge": parse(judge)}
    plugins = {name: dict(plugin.to_table()) for name, plugin in parts.items()}
    spec = RunSpec.from_tables("lite", {**TABLES, **plugins, "judging": {"order": order}}, seed)
    path = root / "runs" / f"seed-{seed:03d}-{spec.identity[:8]}"
    for folder in ("steps", "waypoints"):
        (path / folder).mkdir(parents=True)
    (path / "spec.json").write_text(json.dumps({"identity": spec.identity, "spec": spec.to_tables()}))
    judged: list[Judged] = []
    with Ledger(root / "first-ledger") as ledger:
        asking = {name: Judging(create_oracle(plugin), ledger, Manner(Mode.RECORD, order))
                  for name, plugin in parts.items()}  # fmt: skip
        for step in (1, 2):
            found = asking["oracle"].judge(texts(4, step + seed))
            judged += found
            lines(path / "steps" / f"{step:04d}.jsonl", step_rows(step, found))
        for num_labels in (0, 8):
            found = asking["judge"].judge(texts(6, num_labels + 3 + seed))
            judged += found
            lines(path / "waypoints" / f"{num_labels:04d}.jsonl", waypoint_rows(num_labels, found))
    records = {record.key: record for item in judged for record in item.records}
    (path / "judgments.jsonl").write_bytes(b"".join(record.to_line() for record in records.values()))
    (path / "result.json").write_text("{}")
    return path


def lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(to_json(row) + "\n" for row in rows))


def step_rows(step: int, judged: Sequence[Judged]) -> list[dict[str, Any]]:
    candidates, labels = [], []
    for row, item in enumerate(judged):
        completions = [completion_row(side) for side in (item.pair.first, item.pair.second)]
        prompt = {"prompt_id": item.pair.prompt.id, "prompt": item.pair.prompt.text}
        candidates.append({"kind": "candidate", "row": row, **prompt, "completions": completions, "scores": []})
        labels.append({"kind": "label", "rank": row, "row": row, "first": 0, "second": 1, "margin": 0.0,
                       **judged_row(item)})  # fmt: skip
    return [{"kind": "step", "step": step}, *candidates, *labels]


def waypoint_rows(num_labels: int, judged: Sequence[Judged]) -> list[dict[str, Any]]:
    rows = []
    for item in judged:
        sides = {"policy": completion_row(item.pair.first), "opponent": completion_row(item.pair.second)}
        prompt = {"prompt_id": item.pair.prompt.id, "prompt": item.pair.prompt.text}
        rows.append({"kind": "comparison", **prompt, **sides, **judged_row(item)})
    return [{"kind": "waypoint", "num_labels": num_labels}, *rows]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["judge-report", *map(str, arguments)])


def report(*arguments: object) -> dict[str, Any]:
    done = call(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found
