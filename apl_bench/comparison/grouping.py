"""Which runs can be compared: those that differ in strategy and seed alone, and were made from the same things."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apl_bench.comparison.nouns import RecordedRun
from apl_bench.types import SpecError

# Where a part of a manifest was made, and by which code; all else in it says what the part is.
SURROUNDINGS = {"torch", "transformers", "device", "num_threads", "origin", "source_sha256"}


@dataclass(frozen=True)
class Group:
    """Runs of the same settings, and a name that tells them from other groups."""

    name: str
    settings: Mapping[str, Any]
    runs: Sequence[RecordedRun]


def groups_of(runs: Sequence[RecordedRun]) -> list[Group]:
    """One group for each task, preset and settings; SpecError where runs of one had other weights or data."""
    found: dict[tuple[str, str], list[RecordedRun]] = {}
    for run in runs:
        settings = json.dumps(dict(leaves(run.spec.to_tables())), sort_keys=True)
        found.setdefault((f"{run.spec.task.name}-{run.spec.preset}", settings), []).append(run)
    for group in found.values():
        _refuse_other_materials(group)
    return [
        Group(name, dict(leaves(group[0].spec.to_tables())), group)
        for name, group in zip(_names(list(found)), found.values(), strict=True)
    ]


def common_folder(runs: Sequence[RecordedRun]) -> Path:
    """The deepest folder above all runs: never one of the runs themselves."""
    shared = [set(run.path.resolve().parents) for run in runs]
    return max(set.intersection(*shared), key=lambda folder: len(folder.parts))


def surroundings(run: RecordedRun) -> dict[str, Any]:
    """Versions and device, which change digits and not what is compared."""
    parts = ("versions", "model", "task", "oracle", "judge")
    return {part: {key: value for key, value in run.manifest.get(part, {}).items()
                   if part == "versions" or key in SURROUNDINGS} for part in parts}  # fmt: skip


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Values that differ, by path: {"data.sha256": (ours, theirs)}."""
    here, there = dict(leaves(ours)), dict(leaves(theirs))
    keys = dict.fromkeys([*here, *there])
    return {key: (here.get(key), there.get(key)) for key in keys if here.get(key) != there.get(key)}


def leaves(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value but strategy and seed, by path: ("training.epochs", 6)."""
    for key, value in tables.items():
        if not prefix and key in ("strategy", "seed"):
            continue
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _names(groups: Sequence[tuple[str, str]]) -> list[str]:
    """A group's task and preset, with what sets it apart from groups of the same: `imdb-lite (training.epochs=3)`."""
    names = []
    for name, settings in groups:
        others = [json.loads(other) for same, other in groups if same == name]
        apart = {key: value for key, value in json.loads(settings).items() if any(o.get(key) != value for o in others)}
        words = ", ".join(f"{key}={value}" for key, value in apart.items())
        names.append(f"{name} ({words})" if words else name)
    return names


def _refuse_other_materials(runs: Sequence[RecordedRun]) -> None:
    """Stop where two runs differ in weights or data: a difference between strategies would be one of these."""
    first, *others = runs
    for run in others:
        for key, (here, there) in differing(materials(first), materials(run)).items():
            raise SpecError(
                f"{first.path} and {run.path} cannot be compared: {key} is {here!r} in one and {there!r} in the other; "
                "name runs that were made from the same weights and data"
            )


def materials(run: RecordedRun) -> dict[str, Any]:
    """Checksums of what a run was made from: data, and the weights of the policy, the oracle and the judge."""
    return {part: {key: value for key, value in run.manifest.get(part, {}).items() if key not in SURROUNDINGS}
            for part in ("data", "model", "oracle", "judge")}  # fmt: skip
