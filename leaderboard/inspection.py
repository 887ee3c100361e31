"""One run of a submission, looked at: what is wrong with it by itself, and what it has to share with other runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from apl_bench.comparison import strategy_label
from apl_bench.comparison.grouping import materials, surroundings
from apl_bench.comparison.shipped import settings_sha256
from apl_bench.judgments.record import Record
from apl_bench.leaderboard.derived import Derived
from apl_bench.leaderboard.findings import Finding, Refused, refuse, shown
from apl_bench.leaderboard.packing.files import EVENTS, JUDGMENTS, RESULT, SPEC, names_of, spec_of
from apl_bench.leaderboard.packing.malformed import malformed
from apl_bench.leaderboard.strict import parse
from apl_bench.records import Run, run_path
from apl_bench.spec import RunSpec

Rows = list[dict[str, Any]]

MAX_STEPS, MAX_WAYPOINTS = 100_000, 10_000
PARTS = ("data", "model", "task", "strategy", "oracle", "judge", "versions")
_REMEDY = "submit runs as apl-bench wrote them"


@dataclass(frozen=True)
class Prints:
    """What runs with the same seed, or all runs, have to share; texts as hashes by prompt."""

    settings: str
    test_prompts: str
    opponents: Mapping[str, tuple[int, ...]]
    theta_0: Mapping[str, tuple[int, ...]]
    first_step: Mapping[str, tuple[int, ...]]
    surroundings: str
    materials: Mapping[str, Any]
    plugins: Mapping[str, tuple[str, Mapping[str, Any]]]  # by part: its name, and what spec.json says of it
    harnesses: tuple[Mapping[str, Any], ...]
    response_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunReport:
    """What was found in a run, and where it stands."""

    path: str
    strategy: str
    seed: int
    prints: Prints | None
    findings: tuple[Finding, ...]
    num_judgments: int = 0
    is_derived: bool = True


@dataclass(frozen=True)
class Inspected:
    """A rebuilt run, read: `name` is its path in the submission, `answers_anew` says which parts' replies were not
    packed but given again by an oracle that ships. `from_columns`: requests, keys, verdicts and result.json were made
    by our own code when it was rebuilt, and are what the manifest says; else its files were packed as they are."""

    run: Run
    name: str
    derived: Derived | None
    answers_anew: frozenset[str]
    from_columns: bool
    frames: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def spec(self) -> RunSpec:
        return self.run.spec

    @cached_property
    def steps(self) -> dict[int, Rows]:
        """The rows of each step."""
        return {step: self.run.all_step_rows(step) for step in range(1, self.spec.loop.num_steps + 1)}

    @cached_property
    def waypoints(self) -> dict[int, Rows]:
        """The rows of each waypoint."""
        return {num: self.run.all_waypoint_rows(num) for num in self.spec.loop.waypoints}

    @cached_property
    def records(self) -> dict[str, Record]:
        """The judgments by key."""
        return self.run.judgments()

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """What the run told."""
        return self.run.events()

    def place(self, name: str) -> str:
        """A file of this run, for a finding."""
        return f"runs/{self.name}/{name}"

    def comparisons(self, num_labels: int) -> Rows:
        """The test comparisons of a waypoint."""
        return [row for row in self.waypoints[num_labels] if row["kind"] == "comparison"]

    def labels(self, step: int) -> Rows:
        """What a step bought."""
        return [row for row in self.steps[step] if row["kind"] == "label"]

    def candidates(self, step: int) -> Rows:
        """What a step could choose from."""
        return [row for row in self.steps[step] if row["kind"] == "candidate"]

    def judged(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Every row with a verdict: its part (oracle, judge), its file, and itself."""
        for step in self.steps:
            yield from (("oracle", f"steps/{step:04d}.jsonl", row) for row in self.labels(step))
        for num in self.waypoints:
            yield from (("judge", f"waypoints/{num:04d}.jsonl", row) for row in self.comparisons(num))


def checked_spec(text: str, place: str) -> tuple[dict[str, Any], RunSpec]:
    """The manifest and the spec of a run's spec.json. Raises Refused (V107 to V109, V113)."""
    manifest = parse(text.encode(), place)
    with malformed(place, "V113"):
        if not isinstance(manifest, dict) or not all(isinstance(manifest.get(part), dict) for part in PARTS):
            raise ValueError(f"a run's manifest has the tables {', '.join(PARTS)}")
        spec = spec_of(manifest)
        if spec.loop.num_steps > MAX_STEPS or len(spec.loop.waypoints) > MAX_WAYPOINTS:
            raise ValueError(f"a run has at most {MAX_STEPS} steps and {MAX_WAYPOINTS} waypoints")
        if spec.identity != manifest.get("identity"):
            raise ValueError("the spec does not hash to the identity beside it: it was edited")
    return manifest, spec


def checked_path(path: object, spec: RunSpec, place: str) -> str:
    """Where a run stands: at the place that follows from its spec, and nowhere else. Raises Refused (V113)."""
    expected = run_path(Path(), spec).as_posix()
    if path != expected:
        raise refuse("V113", place, f"a run is called {shown(path)}, and its spec makes it {shown(expected)}", _REMEDY)
    return expected


def checked_files(head: Mapping[str, Any], rest: Sequence[Mapping[str, Any]], spec: RunSpec, place: str) -> None:
    """Texts of a run that stand in it as they are: strict JSON, of files that a run has. Raises Refused."""
    texts = [(EVENTS, head["events"])]
    if "parts" not in head:
        texts += [(line["name"], line["text"]) for line in rest]
    known = set(names_of(spec)) - {SPEC}
    with malformed(place):
        for name, text in texts:
            if name not in known:
                raise refuse("V113", place, f"a run has no file {shown(name)}", _REMEDY)
            lines = text.splitlines() if name != RESULT else [text]
            for number, line in enumerate(lines if name != JUDGMENTS else (), start=1):
                parse(line.encode(), f"{place} {name}:{number}")


def prints_of(run: Inspected) -> Prints:
    """What is compared with other runs."""
    first, last = run.spec.loop.waypoints[0], run.spec.loop.waypoints[-1]
    compared = {num: run.comparisons(num) for num in {first, last}}
    prompts = [[row["prompt_id"], row["prompt"]] for row in compared[last]]
    manifest = run.run.manifest
    begins = [event for event in run.events if event.get("event") == "begin"]
    return Prints(
        settings=settings_sha256(run.spec),
        test_prompts=hashlib.sha256(json.dumps(prompts).encode()).hexdigest(),
        opponents={row["prompt_id"]: (short_hash(row["opponent"]["text"]),) for row in compared[last]},
        theta_0={row["prompt_id"]: (short_hash(row["policy"]["text"]),) for row in compared[first] if first == 0},
        first_step={row["prompt_id"]: tuple(short_hash(one["text"]) for one in row["completions"])
                    for row in run.candidates(1) if row["completions"]},
        surroundings=json.dumps(_where(run.run), sort_keys=True),
        materials=materials(run.run),
        plugins={part: (str(manifest["spec"][part]["name"]), manifest[part])
                 for part in ("task", "strategy", "oracle", "judge")},
        harnesses=tuple(event["harness"] for event in begins if isinstance(event.get("harness"), dict)),
        response_ids=tuple(short_hash(record.reply.response_id) for record in run.records.values()
                           if record.reply.response_id),
    )  # fmt: skip


def _where(run: Run) -> dict[str, Any]:
    """Machine, device and versions, which can change a digit."""
    found = surroundings(run)
    return {part: found[part] for part in ("versions", "model") if part in found}


def short_hash(text: str) -> int:
    """Eight bytes that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def report_of(run: Inspected, findings: Sequence[Finding]) -> RunReport:
    """A run with its findings."""
    return RunReport(run.name, strategy_label(run.spec), run.spec.seed, prints_of(run), tuple(findings),
                     sum(len(row["keys"]) for _, _, row in run.judged()), run.derived is not None)  # fmt: skip


def refused_report(name: str, spec: RunSpec | None, error: Refused) -> RunReport:
    """A run that could not be read."""
    label, seed = (strategy_label(spec), spec.seed) if spec else ("", -1)
    return RunReport(name, label, seed, None, error.findings)
