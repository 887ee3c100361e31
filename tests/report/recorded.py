"""Complete runs on disk with every file that a report reads, and texts that tests choose."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from apl_bench.judgments.record import Record
from apl_bench.records import Run, to_json
from apl_bench.spec import RunSpec
from apl_bench.types import Reply
from tests.cli.compared import TABLES

MACHINE = {"device": "cpu", "num_threads": 2, "dtype": "float32", "peak_gflop_per_s": 100.0}
VERDICTS = ("first", "second", "first", "tie")  # of four labels, and of four test prompts

Text = Callable[[str], str]


def plain_text(place: str) -> str:
    return f" text of {place}"


def write_run(root: Path, strategy: str = "random", seed: int = 0, text: Text = plain_text, **changes: Any) -> Path:
    """A run of two steps of four labels, evaluated at 0 and 8 labels on four prompts.

    `verdicts` at the last waypoint, `usage` of each reply, `reply`: a function of the place like `text`.
    """
    tables = {name: dict(table) for name, table in TABLES.items()}
    tables["strategy"] = {"name": strategy, **changes.get("params", {})}
    tables["judge"] = changes.get("judge", tables["judge"])
    tables["training"]["epochs"] = changes.get("epochs", 1)
    spec = RunSpec.from_tables("lite", tables, seed)
    path = root / f"{len(list(root.glob('*'))) if root.exists() else 0:02}-{spec.identity[:8]}"
    for folder in ("steps", "waypoints"):
        (path / folder).mkdir(parents=True)
    versions = {"versions": {"apl-bench": "0.1.0", **changes.get("versions", {})}}
    (path / "spec.json").write_text(json.dumps({"identity": spec.identity, "spec": spec.to_tables(), **versions}))
    writer = _Writer(strategy, seed, text, changes.get("reply", lambda place: f"reply to {place}"),
                     changes.get("usage", {}))  # fmt: skip
    for step in (1, 2):
        _lines(path / "steps" / f"{step:04d}.jsonl", writer.step(step))
    for num_labels in (0, 8):
        verdicts = changes.get("verdicts", VERDICTS) if num_labels else VERDICTS
        _lines(path / "waypoints" / f"{num_labels:04d}.jsonl", writer.waypoint(num_labels, verdicts))
    (path / "judgments.jsonl").write_bytes(b"".join(record.to_line() for record in writer.records))
    _lines(path / "events.jsonl", changes.get("events", events()))
    if changes.get("complete", True):
        (path / "result.json").write_text(json.dumps(Run(path).summary()))
    return path


def events() -> list[dict[str, Any]]:
    """Two steps: 3 s and 7 GFLOP each, evaluation of 1 s and 100 GFLOP at each waypoint."""
    found: list[dict[str, Any]] = [{"event": "begin", "machine": MACHINE, "seconds": {"load": 4.0}, "tokens": {},
                                    "gflop": {}}]  # fmt: skip
    found += [_event("waypoint", num_labels=0, seconds={"sample": 1.0}, tokens={"sample": 50}, gflop={"sample": 100.0})]
    for step in (1, 2):
        found += [
            _event("acquired", step=step, seconds={"sample": 1.0}, tokens={"sample": 10}, gflop={"sample": 2.0}),
            _event("trained", step=step, seconds={"train": 2.0}, tokens={"train": 30}, gflop={"train": 5.0}),
        ]
    return [*found, _event("waypoint", num_labels=8, seconds={"sample": 1.0}, tokens={"sample": 50},
                           gflop={"sample": 100.0})]  # fmt: skip


def _event(name: str, **fields: Any) -> dict[str, Any]:
    return {"event": name, **fields}


def _lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(to_json(row) + "\n" for row in rows))


class _Writer:
    """Rows, and the records behind them."""

    def __init__(self, strategy: str, seed: int, text: Text, reply: Text, usage: Mapping[str, int]) -> None:
        self.records: list[Record] = []
        self._own = f"{strategy}-{seed}"
        self._text, self._reply, self._usage = text, reply, usage

    def step(self, step: int) -> list[dict[str, Any]]:
        candidates, labels = [], []
        for row in range(4):
            place = f"{self._own}-step-{step}-{row}"
            completions = [self._completion(f"{place}-{side}") for side in (0, 1)]
            candidates.append({"kind": "candidate", "row": row, "prompt_id": f"train-{row}",
                               "prompt": self._text(f"prompt {row}"), "completions": completions,
                               "scores": [[0, 1, 0.5]]})  # fmt: skip
            labels.append({"kind": "label", "rank": row, "row": row, "first": 0, "second": 1, "margin": 0.1 * row,
                           **self._judged(place, VERDICTS[row], "oracle")})  # fmt: skip
        head = {"kind": "step", "step": step, "num_drawn": 4, "num_candidates": 4, "num_generated": 80,
                "num_scored": 40, "diagnostics": {}}  # fmt: skip
        return [head, *candidates, *labels]

    def waypoint(self, num_labels: int, verdicts: Sequence[str]) -> list[dict[str, Any]]:
        rows = []
        for number, verdict in enumerate(verdicts):
            place = f"{self._own}-waypoint-{num_labels}-{number}"
            rows.append({"kind": "comparison", "prompt_id": f"test-{number}", "prompt": self._text(f"test {number}"),
                         "policy": self._completion(f"{place}-policy"), "opponent": self._completion(f"{place}-theirs"),
                         "policy_logp": -20.0 + num_labels, "reference_logp": -20.0,
                         **self._judged(place, verdict, "judge")})  # fmt: skip
        return [{"kind": "waypoint", "num_labels": num_labels}, *rows]

    def _completion(self, place: str) -> dict[str, Any]:
        return {"text": self._text(place), "token_ids": [1, 2, 3], "finished": True}

    def _judged(self, place: str, verdict: str, model: str) -> dict[str, Any]:
        request = {"provider": "openai", "endpoint": "api.openai.com/v1", "model": "gpt-4.1-mini", "asked": place}
        reply = Reply(self._reply(place), model=model, usage=self._usage)
        record = Record.of(request, reply)
        self.records.append(record)
        return {"swapped": "1" in place[-1], "verdict": verdict, "p_first": 0.75, "keys": [record.key]}
