"""The run directory: its only reader and only writer. See docs/run-directory.md for every file and field.

Each file is written to a temporary name and renamed, so it is there whole or not at all; `result.json` comes last.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TextIO

from apl_bench.judging import Judged, preference
from apl_bench.judgments.record import Record, RecordError
from apl_bench.protocols import Engine, Policy
from apl_bench.spec import RunSpec
from apl_bench.summary import summarise
from apl_bench.types import Completion, Pair, Preference, Prompt, SpecError, Verdict

MAX_NAME = 80  # letters of a folder
TEMPORARY = (".*.new", ".*.tmp")  # names of files being written, here and by the engine
NO_TOKENS = b'"usage":{}'  # stands so in no text: there quotes are escaped
_UNSAFE = re.compile(r"[^A-Za-z0-9.+_-]+")


class Busy(SpecError):  # noqa: N818 - what the run directory is, not what went wrong
    """Another process is writing the run directory."""


def write_atomically(path: Path, text: str) -> None:
    """Write the whole file or nothing: to a temporary name, flushed to disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(value: object) -> str:
    """One line of JSON; NaN is refused, since no reader of JSON has to know it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file; a row that is not JSON is named by file and line."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise SpecError(
                f"{path}:{number} is not JSON ({error}); the run was changed after it was written"
            ) from None
    return rows


def completion_row(completion: Completion) -> dict[str, Any]:
    """A completion as it is recorded."""
    return {"text": completion.text, "token_ids": list(completion.token_ids), "finished": completion.finished}


def completion_of(row: Mapping[str, Any]) -> Completion:
    """The completion that `completion_row` recorded."""
    return Completion(row["text"], tuple(row["token_ids"]), row["finished"])


def label_pairs(rows: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """The pairs that a step's rows say were bought, in the order of their rank."""
    candidates = {row["row"]: row for row in rows if row["kind"] == "candidate"}
    pairs = []
    for label in (row for row in rows if row["kind"] == "label"):
        row = candidates[label["row"]]
        first, second = (completion_of(row["completions"][label[side]]) for side in ("first", "second"))
        pairs.append(Pair(Prompt(row["prompt_id"], row["prompt"]), first, second))
    return pairs


def judged_row(judged: Judged) -> dict[str, Any]:
    """How a pair was judged: the order shown, the verdict in the pair's own order, and the keys of the judgments."""
    verdict, keys = judged.verdict.value, list(judged.keys)
    return {"swapped": judged.swapped, "verdict": verdict, "p_first": judged.p_first, "keys": keys}


def outcomes_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Prompt id -> 1 (win), 0 (loss), 0.5 (tie) or NaN (invalid), of an evaluation's rows."""
    values = {Verdict.FIRST: 1.0, Verdict.SECOND: 0.0, Verdict.TIE: 0.5, Verdict.INVALID: math.nan}
    return {row["prompt_id"]: values[Verdict(row["verdict"])] for row in rows if row["kind"] == "comparison"}


@dataclass(frozen=True)
class Run:
    """A run directory, read."""

    manifest_name: ClassVar[str] = "spec.json"

    path: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """spec.json: the resolved spec, its hash, and what the run was made with."""
        value: dict[str, Any] = json.loads((self.path / self.manifest_name).read_text(encoding="utf-8"))
        return value

    @cached_property
    def spec(self) -> RunSpec:
        """The spec; an edited one, whose hash is no longer the recorded one, is refused."""
        tables = dict(self.manifest["spec"])
        preset, seed = tables.pop("preset"), tables.pop("seed")
        spec = RunSpec.from_tables(preset, tables, seed)
        if spec.identity != self.manifest["identity"]:
            raise SpecError(f"{self.path / self.manifest_name} has been changed: it hashes to {spec.identity[:8]}, "
                            f"and was recorded as {self.manifest['identity'][:8]}")  # fmt: skip
        return spec

    @property
    def complete(self) -> bool:
        """True once result.json is there: it is written last."""
        return (self.path / "result.json").exists()

    @cached_property
    def result(self) -> dict[str, Any]:
        """result.json of a complete run."""
        value: dict[str, Any] = json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        return value

    def refuse_other(self, now: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise SpecError where these parts of a manifest are not what the run was begun with."""
        for key, after in now.items():
            before = self.manifest.get(key) or {}
            changed = sorted(k for k in {*before, *after} if before.get(k) != after.get(k))
            if changed:
                then, today = ({k: part.get(k) for k in changed} for part in (before, after))
                raise SpecError(f"{self.path} was begun with another {key}: {then}, now {today}. Go on with what it "
                                "was begun with, choose another --out, or remove the folder to start over")  # fmt: skip

    def step_rows(self, step: int) -> list[dict[str, Any]] | None:
        """The rows of a step's file, None where the step is not done."""
        path = self.path / "steps" / f"{step:04d}.jsonl"
        return read_jsonl(path) if path.exists() else None

    def waypoint_rows(self, num_labels: int) -> list[dict[str, Any]] | None:
        """The rows of a waypoint's file, None where it is not evaluated."""
        path = self.path / "waypoints" / f"{num_labels:04d}.jsonl"
        return read_jsonl(path) if path.exists() else None

    def all_step_rows(self, step: int) -> list[dict[str, Any]]:
        """The rows of a step that was recorded; SpecError where its file is missing."""
        return self._there(self.step_rows(step), f"steps/{step:04d}.jsonl")

    def all_waypoint_rows(self, num_labels: int) -> list[dict[str, Any]]:
        """The rows of a waypoint that was recorded; SpecError where its file is missing."""
        return self._there(self.waypoint_rows(num_labels), f"waypoints/{num_labels:04d}.jsonl")

    def _there(self, rows: list[dict[str, Any]] | None, name: str) -> list[dict[str, Any]]:
        if not rows:
            raise SpecError(f"{self.path}/{name} is missing or empty, and the run is recorded as complete; restore the "
                            "file, or remove the folder and run it again")  # fmt: skip
        return rows

    def outcomes(self, num_labels: int) -> dict[str, float]:
        """Prompt id -> 1 (win), 0 (loss), 0.5 (tie) or NaN (invalid) at a waypoint."""
        return outcomes_of(self.all_waypoint_rows(num_labels))

    def events(self) -> list[dict[str, Any]]:
        """events.jsonl as far as it goes; a last line cut off by a kill is left out."""
        path = self.path / "events.jsonl"
        return read_jsonl(path) if path.exists() else []

    def judgments(self) -> dict[str, Record]:
        """The slice of the ledger that this run used, by key; a last line cut off by a kill is left out."""
        return {record.key: record for record in self._records(lambda _line: True)}

    def counted_judgments(self) -> list[Record]:
        """Those of which a provider counted tokens; the others cost nothing, and are not looked at."""
        return list({record.key: record for record in self._records(lambda line: NO_TOKENS not in line)}.values())

    def _records(self, is_wanted: Callable[[bytes], bool]) -> Iterator[Record]:
        path = self.path / "judgments.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        for number, line in enumerate(lines, start=1):
            if is_wanted(line):
                try:
                    yield Record.from_line(line)
                except RecordError as error:
                    raise SpecError(f"{path}:{number} is no record of a judgment: {error}") from None

    def summary(self) -> dict[str, Any]:
        """The result as it follows from the recorded steps and waypoints."""
        loop = self.spec.loop
        steps = [self.all_step_rows(step) for step in range(1, loop.num_steps + 1)]
        waypoints = {num: self.all_waypoint_rows(num) for num in loop.waypoints}
        return summarise(self.spec, steps, waypoints)


class RunWriter(Run):
    """A run directory being written by this process alone."""

    _lock: TextIO
    _events: TextIO

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Create the directory, or take up one that stopped; refuse one that was begun with other versions or data."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.__dict__["_lock"] = (self.path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy(f"another process is writing {self.path}; wait for it, or stop it") from None
        path = self.path / self.manifest_name
        if path.exists():
            self.refuse_other({part: value for part, value in manifest.items() if part != "identity"})
        else:
            write_atomically(path, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        self._mend()
        self.__dict__["_events"] = (self.path / "events.jsonl").open("a", encoding="utf-8")

    def close(self) -> None:
        """Let another process write here."""
        self._events.close()
        self._lock.close()

    def event(self, **fields: Any) -> None:
        """Append what happened to events.jsonl."""
        self._events.write(to_json(fields) + "\n")
        self._events.flush()

    def write_step(self, step: int, rows: Iterable[Mapping[str, Any]], judged: Sequence[Judged]) -> None:
        """Record an acquisition step: its judgments first, then its rows, whole."""
        self._add_judgments(judged)
        write_atomically(self.path / "steps" / f"{step:04d}.jsonl", "".join(to_json(row) + "\n" for row in rows))

    def write_waypoint(self, num_labels: int, rows: Iterable[Mapping[str, Any]], judged: Sequence[Judged]) -> None:
        """Record an evaluation: its judgments first, then its rows, whole."""
        self._add_judgments(judged)
        name = f"{num_labels:04d}.jsonl"
        write_atomically(self.path / "waypoints" / name, "".join(to_json(row) + "\n" for row in rows))

    def preferences(self, step: int) -> list[Preference]:
        """The preferences that a recorded step bought, in the order of their rank."""
        rows = self.step_rows(step) or []
        labels = [row for row in rows if row["kind"] == "label"]
        verdicts = [Verdict(label["verdict"]) for label in labels]
        found = [preference(pair, verdict, step) for pair, verdict in zip(label_pairs(rows), verdicts, strict=True)]
        return [bought for bought in found if bought is not None]

    def commit(self, step: int, policy: Policy, engine: Engine) -> None:
        """Save theta after a step whose rows and waypoint are recorded; earlier weights are needed no more."""
        folder = self.path / "state"
        folder.mkdir(exist_ok=True)
        engine.save(policy, folder / f"policy-{step:04d}.safetensors")
        for path in folder.glob("policy-*.safetensors"):
            if path.name < f"policy-{step:04d}.safetensors":
                path.unlink()

    def resume(self, engine: Engine) -> tuple[int, Policy, list[Preference]]:
        """Where to go on: the number of steps committed, the policy then, and everything bought until then."""
        saved = sorted((self.path / "state").glob("policy-*.safetensors"))
        if not saved:
            return 0, engine.reference(), []
        done = int(saved[-1].stem.removeprefix("policy-"))
        bought = [preference for step in range(1, done + 1) for preference in self.preferences(step)]
        return done, engine.load(saved[-1]), bought

    def finish(self) -> dict[str, Any]:
        """Write result.json from what is recorded, and drop the weights kept for a resume."""
        summary = self.summary()
        write_atomically(self.path / "result.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
        self.drop_weights()
        return summary

    def drop_weights(self) -> None:
        """A complete run has nothing to resume; a kill right after its result may have left some."""
        for path in (self.path / "state").glob("policy-*.safetensors"):
            path.unlink(missing_ok=True)

    @cached_property
    def _written(self) -> dict[str, int]:
        """Generation by key."""
        return {key: record.generation for key, record in self.judgments().items()}

    def _mend(self) -> None:
        """Cut off last lines that a kill left unfinished, and remove files that it left half-written."""
        for path in (self.path / "judgments.jsonl", self.path / "events.jsonl"):
            data = path.read_bytes() if path.exists() else b""
            if data and not data.endswith(b"\n"):
                with path.open("r+b") as file:
                    file.truncate(data.rfind(b"\n") + 1)
        for path in [found for pattern in TEMPORARY for found in self.path.rglob(pattern)]:
            path.unlink()

    def _add_judgments(self, judged: Sequence[Judged]) -> None:
        """Append the records that are new to this run, on disk before the rows that refer to them."""
        records = {record.key: record for item in judged for record in item.records}
        generations = {key: record.generation for key, record in records.items()}
        other = [key for key, generation in generations.items() if self._written.get(key, generation) != generation]
        if other:
            raise SpecError(f"{self.path} goes by another reply to {len(other)} comparisons, the first with key "
                            f"{other[0]}: a run is of one generation. Go on in the mode that it was begun in, or "
                            "choose another --out")  # fmt: skip
        new = [record for key, record in records.items() if key not in self._written]
        with (self.path / "judgments.jsonl").open("ab") as file:
            file.write(b"".join(record.to_line() for record in new))
            file.flush()
            os.fsync(file.fileno())
        self._written.update(generations)


def file_name(text: str) -> str:
    """A name as part of a path that cannot lead elsewhere; a long one is cut, and told apart by its hash."""
    name = "_" if not text.strip(".") else _UNSAFE.sub("_", text)
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def run_path(root: Path, spec: RunSpec) -> Path:
    """runs/<task>-<preset>/<strategy>/seed-007-<hash8>."""
    parts = (f"{spec.task.name}-{spec.preset}", spec.strategy.name, f"seed-{spec.seed:03d}-{spec.identity[:8]}")
    return root.joinpath(*map(file_name, parts))


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs at or below these paths, sorted; a path with none is an error."""
    found: dict[Path, Run] = {}
    for path in paths:
        here = sorted(spec.parent for spec in [path / "spec.json", *path.rglob("spec.json")] if spec.is_file())
        if not here:
            raise SpecError(f"no run at or below {path}; expected a folder with spec.json, as `apl-bench run` writes")
        found.update((folder.resolve(), Run(folder)) for folder in here)
    return [found[key] for key in sorted(found)]
