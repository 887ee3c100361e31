"""One run as lines of JSON, and its files from these lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apl_bench.judgments.record import Record
from apl_bench.leaderboard.packing.answers import PARTS, Part, keep_replies, opened, pack_part, plugin_of
from apl_bench.leaderboard.packing.malformed import MALFORMED
from apl_bench.leaderboard.packing.rows import Tables, pack_step, pack_waypoint, unpack_step, unpack_waypoint
from apl_bench.records import Run, to_json
from apl_bench.spec import RunSpec
from apl_bench.summary import summarise

Line = dict[str, Any]

SPEC, EVENTS, JUDGMENTS, RESULT = "spec.json", "events.jsonl", "judgments.jsonl", "result.json"
MAX_RUN_BYTES = 2**29


@dataclass(frozen=True)
class Place:
    """A step or a waypoint, by its number."""

    kind: str
    number: int

    @property
    def file(self) -> str:
        """Its file in a run directory."""
        return f"{self.kind}s/{self.number:04d}.jsonl"


def places_of(spec: RunSpec) -> Iterator[Place]:
    """Steps and waypoints in the order in which a run comes to them."""
    size, waypoints = spec.loop.labels_per_step, set(spec.loop.waypoints)
    for step in range(spec.loop.num_steps + 1):
        if step:
            yield Place("step", step)
        if step * size in waypoints:
            yield Place("waypoint", step * size)


def names_of(spec: RunSpec) -> list[str]:
    """The files of a complete run, those that anybody reads."""
    return [SPEC, *(place.file for place in places_of(spec)), JUDGMENTS, EVENTS, RESULT]


@dataclass(frozen=True)
class Rebuilt:
    """The files of a run, and of those that were rebuilt from columns what they hold: rows by file, records by key."""

    files: Mapping[str, bytes]
    rows: Mapping[str, list[Line]] = field(default_factory=dict)
    records: Mapping[str, Record] | None = None


class RebuiltRun(Run):
    """A run directory whose rows and judgments are read once, or not at all where they were just rebuilt."""

    @classmethod
    def of(cls, path: Path, rebuilt: Rebuilt) -> RebuiltRun:
        """The run whose files were written below `path`."""
        run = cls(path)
        run.__dict__["_kept"] = dict(rebuilt.rows)
        run.__dict__["_all_records"] = rebuilt.records
        return run

    def step_rows(self, step: int) -> list[Line] | None:
        """The rows of a step, read once."""
        return self._once(f"steps/{step:04d}.jsonl", super().step_rows, step)

    def waypoint_rows(self, num_labels: int) -> list[Line] | None:
        """The rows of a waypoint, read once."""
        return self._once(f"waypoints/{num_labels:04d}.jsonl", super().waypoint_rows, num_labels)

    def judgments(self) -> dict[str, Record]:
        """The judgments by key, read once."""
        if self.__dict__["_all_records"] is None:
            self.__dict__["_all_records"] = super().judgments()
        return dict(self.__dict__["_all_records"])

    def _once(self, name: str, read: Callable[[int], list[Line] | None], number: int) -> list[Line] | None:
        kept: dict[str, list[Line] | None] = self.__dict__["_kept"]
        if name not in kept:
            kept[name] = read(number)
        return kept[name]


def read_files(path: Path, spec: RunSpec) -> dict[str, bytes]:
    """The files of a run directory."""
    return {name: (path / name).read_bytes() for name in names_of(spec) if (path / name).exists()}


def pack_run(run: Run, path: str, tables: Tables) -> list[Line]:
    """The lines of a run: columns where they give back every byte, else its files as they are."""
    files = read_files(run.path, run.spec)
    try:
        packed = _pack(run, path, files, tables)
        for lines in (packed, _with_replies(run, packed)):
            if unpack_run(lines, tables).files == files:
                return lines
    except MALFORMED:
        pass  # a file that no run of today writes is kept as it is
    return [_head(path, files), *({"kind": "file", "name": name, "text": data.decode()}
                                  for name, data in files.items() if name not in (SPEC, EVENTS))]  # fmt: skip


def _head(path: str, files: Mapping[str, bytes]) -> Line:
    return {"kind": "run", "path": path, "spec": files[SPEC].decode(), "events": files.get(EVENTS, b"").decode()}


def _pack(run: Run, path: str, files: Mapping[str, bytes], tables: Tables) -> list[Line]:
    lines, asked = [], _asked(run)
    for place in places_of(run.spec):
        rows = [json.loads(line) for line in files[place.file].splitlines()]
        lines.append(pack_step(rows, tables) if place.kind == "step" else pack_waypoint(rows, tables))
    generations = {record.generation for records in asked.values() for record in records}
    generation = max(generations, default=0)
    parts = {part: pack_part(plugin_of(run.spec, part), asked[part], generation) for part in PARTS}
    return [{**_head(path, files), "parts": parts}, *lines]


def _with_replies(run: Run, packed: Sequence[Line]) -> list[Line]:
    """The same lines with every reply in them."""
    head, *lines = packed
    asked = _asked(run)
    return [{**head, "parts": {part: keep_replies(head["parts"][part], asked[part]) for part in PARTS}}, *lines]


def _asked(run: Run) -> dict[str, list[Record]]:
    """The records of each part, in the order in which they were first asked."""
    records = run.judgments()
    keys: dict[str, dict[str, None]] = {part: {} for part in PARTS}
    for place in places_of(run.spec):
        is_step = place.kind == "step"
        rows = run.all_step_rows(place.number) if is_step else run.all_waypoint_rows(place.number)
        found = keys["oracle" if is_step else "judge"]
        found |= dict.fromkeys(key for row in rows for key in row.get("keys", ()))
    return {part: [records[key] for key in found] for part, found in keys.items()}


def unpack_run(lines: Sequence[Line], tables: Tables) -> Rebuilt:
    """A run, from its lines. Raises what malformed lines raise: see `MALFORMED` of unpacking.py."""
    head, *rest = lines
    files = {SPEC: head["spec"].encode()}
    files |= {EVENTS: head["events"].encode()} if head["events"] else {}
    if "parts" not in head:
        return Rebuilt(files | {line["name"]: line["text"].encode() for line in rest})
    spec = spec_of(json.loads(head["spec"]))
    records: dict[str, Record] = {}
    parts = {part: opened(plugin_of(spec, part), head["parts"][part], spec.judging.order, records) for part in PARTS}
    rows: dict[Place, list[Line]] = {}
    for place, line in zip(places_of(spec), rest, strict=True):
        rows[place] = _unpack(place, line, tables, parts)
        files[place.file] = "".join(to_json(row) + "\n" for row in rows[place]).encode()
        if sum(map(len, files.values())) > MAX_RUN_BYTES:
            raise ValueError(f"its files have more than {MAX_RUN_BYTES} bytes")
    files[JUDGMENTS] = b"".join(record.to_line() for record in records.values())
    steps = [found for place, found in rows.items() if place.kind == "step"]
    waypoints = {place.number: found for place, found in rows.items() if place.kind == "waypoint"}
    files[RESULT] = (json.dumps(summarise(spec, steps, waypoints), indent=2, allow_nan=False) + "\n").encode()
    return Rebuilt(files, {place.file: found for place, found in rows.items()}, records)


def _unpack(place: Place, line: Line, tables: Tables, parts: Mapping[str, Part]) -> list[Line]:
    if line["kind"] != place.kind:
        raise ValueError(f"a {line['kind']!r} stands where {place.file} belongs")
    if place.kind == "step":
        return unpack_step(line, tables, parts["oracle"].judge)
    return unpack_waypoint(line, tables, parts["judge"].judge)


def spec_of(manifest: Mapping[str, Any]) -> RunSpec:
    """The spec in a run's spec.json. Raises SpecError."""
    spec_tables = dict(manifest["spec"])
    preset, seed = spec_tables.pop("preset"), spec_tables.pop("seed")
    return RunSpec.from_tables(preset, spec_tables, seed)
