"""Submissions for tests: an honest one of tiny runs, and what a cheat does with it, hashes and totals done again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from apl_bench import presets
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.leaderboard import building
from apl_bench.leaderboard.building import Statement
from apl_bench.leaderboard.card import template
from apl_bench.leaderboard.facts import facts_of
from apl_bench.leaderboard.packing.packing import dump, pack_runs
from apl_bench.leaderboard.submission import Submission, Submitter
from apl_bench.leaderboard.verifying import Options, Verification, verify
from apl_bench.provenance import Checkout
from apl_bench.records import Run, find_runs, judged_row, label_pairs, to_json
from apl_bench.replay import waypoint_pairs
from apl_bench.spec import RunSpec
from apl_bench.wrapping import create_oracle

STRATEGIES, SEEDS = ("random", "certainty", "entropy+certainty", "tails"), (0, 1)
TINY = {
    "budget = 512": "budget = 8", "labels_per_step = 128": "labels_per_step = 4", "prompts_per_step = 512":
    "prompts_per_step = 12", "oversample = 4": "oversample = 2", "num_entropy_samples = 4": "num_entropy_samples = 2",
    "[0, 128, 256, 384, 512]": "[0, 4, 8]", "num_prompts = 1024": "num_prompts = 12", "num_probe_prompts = 256":
    "num_probe_prompts = 4", "num_threads = 2": "num_threads = 1", "batch_size = 32": "batch_size = 4",
}  # fmt: skip
STATEMENT = Statement("Tiny runs", Submitter("A group", "group@example.org", ""), "closed", 8, "CC0-1.0", "", None,
                      created=datetime(2026, 11, 21, tzinfo=UTC))  # fmt: skip


@contextmanager
def tiny_preset(folder: Path) -> Iterator[None]:
    """`imdb tiny` ships, for as long as this lasts: imdb lite with few of everything; and the checkout is clean."""
    text = (presets._FOLDER / "imdb-lite.toml").read_text()
    for before, after in TINY.items():
        assert before in text, before
        text = text.replace(before, after)
    shutil.copytree(presets._FOLDER, folder, dirs_exist_ok=True)
    (folder / "imdb-tiny.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "_FOLDER", folder)
        patch.setattr(building, "checkout", lambda: Checkout("a" * 40, dirty=False))  # whoever tests may be at work
        yield


def tiny(strategy: str, seed: int, *settings: str) -> RunSpec:
    return presets.resolve("imdb", "tiny", strategy, presets.Changes(settings), seed)


def checked(folder: Path) -> Verification:
    """What the verifier says, in this process: it knows the tiny preset."""
    return verify(folder, Options(num_workers=1))


def codes(folder: Path) -> set[str]:
    return {found.code for found in checked(folder).findings}


class Forger:
    """The runs of an honest submission, to be changed; `submit` does every hash, total and claim again."""

    def __init__(self, root: Path, honest_runs: Path) -> None:
        self.root = root
        self.runs = root / "forged"
        shutil.copytree(honest_runs, self.runs)

    def path(self, strategy: str = "certainty", seed: int = 0) -> Path:
        (found,) = (self.runs / "imdb-tiny" / strategy.replace("+", "+")).glob(f"seed-{seed:03d}-*")
        return found

    def rows(self, name: str, strategy: str = "certainty", seed: int = 0) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path(strategy, seed) / name).read_text().splitlines()]

    def write(self, name: str, rows: list[dict[str, Any]], strategy: str = "certainty", seed: int = 0) -> None:
        text = "".join(to_json(row) + "\n" for row in rows)
        (self.path(strategy, seed) / name).write_text(text)

    def edit(self, name: str, change: Callable[[dict[str, Any]], None], kind: str = "comparison") -> None:
        """Change the first row of a kind."""
        rows = self.rows(name)
        change(next(row for row in rows if row["kind"] == kind))
        self.write(name, rows)

    def judge_again(self, strategy: str = "certainty", seed: int = 0) -> None:
        """Ask the local oracle and judge about what the rows say now, and write verdicts and judgments."""
        found = Run(self.path(strategy, seed))
        records: dict[str, Record] = {}
        for part, plugin in (("steps", found.spec.oracle), ("waypoints", found.spec.judge)):
            for path in sorted((found.path / part).glob("*.jsonl")):
                rows = [json.loads(line) for line in path.read_text().splitlines()]
                pairs = label_pairs(rows) if part == "steps" else waypoint_pairs(rows)
                with Ledger(self.root / "again") as ledger:
                    judging = Judging(create_oracle(plugin), ledger, Manner(Mode.RECORD, found.spec.judging.order))
                    judged = judging.judge(pairs)
                records |= {record.key: record for item in judged for record in item.records}
                answers = iter(judged)
                kind = "label" if part == "steps" else "comparison"
                rows = [{**row, **judged_row(next(answers))} if row["kind"] == kind else row for row in rows]
                self.write(f"{part}/{path.name}", rows, strategy, seed)
        self.write_records(list(records.values()), strategy, seed)

    def write_records(self, records: list[Record], strategy: str = "certainty", seed: int = 0) -> None:
        (self.path(strategy, seed) / "judgments.jsonl").write_bytes(b"".join(one.to_line() for one in records))

    def tell_again(self, strategy: str = "certainty", seed: int = 0) -> None:
        """Write result.json and the events' numbers as they follow from the rows."""
        found = Run(self.path(strategy, seed))
        summary = found.summary()
        (found.path / "result.json").write_text(json.dumps(summary, indent=2) + "\n")
        told = {("acquired", step["step"]): step for step in summary["steps"]}
        told |= {("waypoint", point["num_labels"]): point for point in summary["waypoints"]}
        events = []
        for event in found.events():
            new = told.get((event["event"], event.get("step", event.get("num_labels"))), {})
            events.append({name: new.get(name, value) for name, value in event.items()})
        self.write("events.jsonl", events, strategy, seed)

    def submit(self, **stated: Any) -> Path:
        """The folder of the submission as a cheat would build it; `stated` replaces what is said."""
        runs = find_runs([self.runs])
        folder = self.root / "out" / "tiny-runs"
        folder.mkdir(parents=True)
        facts = facts_of(runs)
        submission = building._stated(runs, STATEMENT, facts)
        submission = replace(submission, **{"card": template("Tiny", ["x"], 8), "results": facts.results, **stated})
        write(folder, submission)
        sums = pack_runs(runs, folder)
        building.write_manifest(folder, {path: {name: one.to_json() for name, one in files.items()}
                                         for path, files in sums.items()})  # fmt: skip
        return folder


def write(folder: Path, submission: Submission) -> None:
    (folder / "submission.json").write_text(dump(submission.to_json()))
    (folder / "results.json").write_text(dump(list(submission.results)))
    (folder / "CARD.md").write_text(submission.card)


def sums_again(folder: Path) -> None:
    """The manifest of a folder that was changed, with the runs' sums as they were."""
    runs = json.loads((folder / "MANIFEST.json").read_text())["runs"]
    building.write_manifest(folder, runs)
