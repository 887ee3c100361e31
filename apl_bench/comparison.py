"""Strategies side by side: recorded runs that differ in strategy and seed alone, and what their difference is worth."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from apl_bench.spec import RunSpec
from apl_bench.statistics import (
    Estimate,
    PairedDifference,
    area_under_curve,
    estimate,
    paired_difference,
    seed_means,
)
from apl_bench.types import SpecError

BASELINE = "random"
# Where a part of a manifest was made, and by which code; all else in it says what the part is.
SURROUNDINGS = {"torch", "transformers", "device", "num_threads", "origin", "source_sha256"}


class RecordedRun(Protocol):
    """A complete run, as far as a comparison reads it."""

    @property
    def path(self) -> Path: ...

    @property
    def spec(self) -> RunSpec: ...

    @property
    def manifest(self) -> Mapping[str, Any]: ...

    @property
    def result(self) -> Mapping[str, Any]: ...

    def outcomes(self, num_labels: int) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Beside:
    """What stands beside a win rate, mean over seeds: nats a completion, tokens, share of bigrams, e^(nats a token)."""

    kl: float | None
    mean_length: float | None
    repetition: float | None
    perplexity: float | None

    @classmethod
    def over(cls, seeds: Sequence[Mapping[str, Any]]) -> Self:
        """From each seed's summary of an evaluation."""
        return cls(*(_mean([summary.get(key) for summary in seeds]) for key in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Point:
    """A strategy at a waypoint; `difference` is from random, on the seeds that both have; `by_seed` are win rates."""

    num_labels: int
    win_rate: Estimate
    difference: PairedDifference | None
    beside: Beside
    share_invalid: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A strategy over its seeds.

    `acquired[t]` holds, for each preference bought in step t + 1 by any seed, the probability that the implicit
    preference model gave to its label before it was trained on it (figure 3 of the paper).
    """

    strategy: str
    seeds: tuple[int, ...]
    shared_seeds: tuple[int, ...]
    curve: tuple[Point, ...]
    area: Estimate | None
    area_difference: PairedDifference | None
    acquired: tuple[tuple[float, ...], ...]

    @property
    def last(self) -> Point:
        """At the last waypoint."""
        return self.curve[-1]


def share_wrong(probabilities: Sequence[float]) -> float | None:
    """Share of labels that the implicit preference model had the other way, undecided ones left out; None: all were."""
    decided = [probability for probability in probabilities if probability != 0.5]
    return sum(probability < 0.5 for probability in decided) / len(decided) if decided else None


@dataclass(frozen=True)
class Comparison:
    """Strategies of one task and preset, best first where all have the same seeds, else by name; and what to know."""

    name: str
    folder: Path
    num_prompts: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    task: str = ""
    preset: str = ""
    regime: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """The runs of a strategy by seed, and their outcomes: W waypoints x R seeds x P test prompts."""

    strategy: str
    runs: Mapping[int, RecordedRun]
    y_WRP: np.ndarray

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.runs)

    def on(self, seeds: Sequence[int]) -> np.ndarray:
        """The outcomes of some of the seeds."""
        return self.y_WRP[:, [self.seeds.index(seed) for seed in seeds]]


def compare(runs: Sequence[RecordedRun]) -> list[Comparison]:
    """One comparison for each task, preset and settings among complete runs.

    Raises SpecError where runs of the same settings had other weights or data, were evaluated on different prompts, or
    are there twice.
    """
    groups: dict[tuple[str, str], list[RecordedRun]] = {}
    for run in runs:
        settings = json.dumps(dict(_leaves(run.spec.to_tables())), sort_keys=True)
        groups.setdefault((f"{run.spec.task.name}-{run.spec.preset}", settings), []).append(run)
    return [_compare_group(name, group) for name, group in zip(_names(list(groups)), groups.values(), strict=True)]


def _names(groups: Sequence[tuple[str, str]]) -> list[str]:
    """A group's task and preset, with what sets it apart from groups of the same: `imdb-lite (training.epochs=3)`."""
    names = []
    for name, settings in groups:
        others = [json.loads(other) for same, other in groups if same == name]
        apart = {key: value for key, value in json.loads(settings).items() if any(o.get(key) != value for o in others)}
        words = ", ".join(f"{key}={value}" for key, value in apart.items())
        names.append(f"{name} ({words})" if words else name)
    return names


def _compare_group(name: str, runs: Sequence[RecordedRun]) -> Comparison:
    _refuse_other_materials(runs)
    prompts = sorted(runs[0].outcomes(runs[0].spec.loop.waypoints[0]))
    arms = _arms(runs, prompts)
    baseline = next((arm for arm in arms if arm.strategy == BASELINE), None)
    rows = [_row(arm, baseline) for arm in arms]
    is_missing = any(math.isnan(row.last.win_rate.mean) for row in rows)
    if len({row.seeds for row in rows}) == 1 and not is_missing:
        rows.sort(key=lambda row: -row.last.win_rate.mean)
    notes = (*_notes(runs[0].spec, rows, baseline), *_run_notes(arms))
    spec = runs[0].spec
    settings = dict(_leaves(spec.to_tables()))
    about = (spec.task.name, spec.preset, spec.loop.regime, settings)
    return Comparison(name, _common_folder(runs), len(prompts), tuple(rows), notes, *about)


def _common_folder(runs: Sequence[RecordedRun]) -> Path:
    """The deepest folder above all runs: never one of the runs themselves."""
    shared = [set(run.path.resolve().parents) for run in runs]
    return max(set.intersection(*shared), key=lambda folder: len(folder.parts))


def _refuse_other_materials(runs: Sequence[RecordedRun]) -> None:
    """Stop where two runs differ in weights or data: a difference between strategies would be one of these."""
    first, *others = runs
    for run in others:
        for key, (here, there) in _differences(_materials(first), _materials(run)).items():
            raise SpecError(
                f"{first.path} and {run.path} cannot be compared: {key} is {here!r} in one and {there!r} in the other; "
                "name runs that were made from the same weights and data"
            )


def _materials(run: RecordedRun) -> dict[str, Any]:
    """Checksums of what a run was made from: data, and the weights of the policy, the oracle and the judge."""
    return {part: {key: value for key, value in run.manifest.get(part, {}).items() if key not in SURROUNDINGS}
            for part in ("data", "model", "oracle", "judge")}  # fmt: skip


def _surroundings(run: RecordedRun) -> dict[str, Any]:
    """Versions and device, which change digits and not what is compared."""
    parts = ("versions", "model", "task", "oracle", "judge")
    return {part: {key: value for key, value in run.manifest.get(part, {}).items()
                   if part == "versions" or key in SURROUNDINGS} for part in parts}  # fmt: skip


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Values that differ, by path: {"data.sha256": (ours, theirs)}."""
    here, there = dict(_leaves(ours)), dict(_leaves(theirs))
    keys = dict.fromkeys([*here, *there])
    return {key: (here.get(key), there.get(key)) for key in keys if here.get(key) != there.get(key)}


def _leaves(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value but strategy and seed, by path: ("training.epochs", 6)."""
    for key, value in tables.items():
        if not prefix and key in ("strategy", "seed"):
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _arms(runs: Sequence[RecordedRun], prompts: Sequence[str]) -> list[Arm]:
    """Runs by strategy, with their outcomes; strategies by name, seeds in order."""
    by_strategy: dict[str, dict[int, RecordedRun]] = {}
    for run in sorted(runs, key=lambda run: (strategy_label(run.spec), run.spec.seed)):
        seeds = by_strategy.setdefault(strategy_label(run.spec), {})
        if run.spec.seed in seeds:
            raise SpecError(f"seed {run.spec.seed} of {strategy_label(run.spec)} is there twice, {run.path} and "
                            f"{seeds[run.spec.seed].path}; name one of them")  # fmt: skip
        seeds[run.spec.seed] = run
    return [Arm(strategy, seeds, _outcomes(list(seeds.values()), prompts)) for strategy, seeds in by_strategy.items()]


def strategy_label(spec: RunSpec) -> str:
    """A strategy's name with the parameters that it was given, such as `mid(width=0.2)`."""
    params = ", ".join(f"{key}={value}" for key, value in sorted(spec.strategy.params.items()))
    return f"{spec.strategy.name}({params})" if params else spec.strategy.name


def _outcomes(runs: Sequence[RecordedRun], prompts: Sequence[str]) -> np.ndarray:
    """Shape (W, R, P), prompts in the given order; raises SpecError for a run that was evaluated on others."""
    return np.array([[_of_run(run, num, prompts) for run in runs] for num in runs[0].spec.loop.waypoints])


def _of_run(run: RecordedRun, num_labels: int, prompts: Sequence[str]) -> list[float]:
    outcomes = run.outcomes(num_labels)
    if outcomes.keys() != set(prompts):
        shared = len(outcomes.keys() & set(prompts))
        raise SpecError(f"{run.path} was evaluated on other prompts at {num_labels} labels: {len(outcomes)}, of which "
                        f"{shared} are among the {len(prompts)} of the other runs; their data differ")  # fmt: skip
    return [outcomes[prompt] for prompt in prompts]


def _row(arm: Arm, baseline: Arm | None) -> Row:
    waypoints = next(iter(arm.runs.values())).spec.loop.waypoints
    is_other = baseline is not None and baseline is not arm
    shared = tuple(seed for seed in arm.seeds if seed in baseline.seeds) if baseline and is_other else ()
    paired = (arm.on(shared), baseline.on(shared)) if baseline and shared else None
    curve = tuple(_point(arm, w, num, paired) for w, num in enumerate(waypoints))
    area = area_difference = None
    if len(waypoints) > 1:
        area = estimate(area_under_curve(arm.y_WRP, waypoints))
        if paired:
            area_difference = paired_difference(*(area_under_curve(y_WRP, waypoints) for y_WRP in paired))
    return Row(arm.strategy, arm.seeds, shared, curve, area, area_difference, _acquired(arm))


def _point(arm: Arm, w: int, num_labels: int, paired: tuple[np.ndarray, np.ndarray] | None) -> Point:
    y_RP = arm.y_WRP[w]
    difference = paired_difference(paired[0][w], paired[1][w]) if paired else None
    recorded = [_waypoint(run, num_labels) for run in arm.runs.values()]
    by_seed = tuple(seed_means(y_RP).tolist())
    return Point(num_labels, estimate(y_RP), difference, Beside.over(recorded), float(np.isnan(y_RP).mean()), by_seed)


def _waypoint(run: RecordedRun, num_labels: int) -> Mapping[str, Any]:
    found: Mapping[str, Any]
    for found in run.result["waypoints"]:
        if found["num_labels"] == num_labels:
            return found
    raise SpecError(
        f"{run.path}/result.json lacks the waypoint of {num_labels} labels; try: apl-bench replay {run.path}"
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, None where any is missing."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present and len(present) == len(values) else None


def _acquired(arm: Arm) -> tuple[tuple[float, ...], ...]:
    steps = zip(*(run.result["steps"] for run in arm.runs.values()), strict=True)
    return tuple(tuple(p for seed in step for p in seed["probability_of_label"]) for step in steps)


def _notes(spec: RunSpec, rows: Sequence[Row], baseline: Arm | None) -> Iterator[str]:
    """What a reader has to know before believing a row."""
    if baseline is None:
        yield f"no run of {BASELINE} is among these: there is nothing to take differences from"
    else:
        yield from _pairing_notes(rows, baseline)
    if len({row.seeds for row in rows}) > 1:
        yield "strategies have different seeds: rows are in order of name, not of win rate"
    for row in rows:
        if len(row.seeds) == 1:
            yield f"{row.strategy} has one seed: its error is over prompts alone, and says nothing of another seed"
    if spec.oracle == spec.judge:
        yield "the judge is the oracle that labelled the training pairs: a policy that games it wins"


def _run_notes(arms: Sequence[Arm]) -> Iterator[str]:
    """What the runs themselves say: unreadable verdicts, strategies that were edited, machines that differ."""
    runs = [(arm.strategy, seed, run) for arm in arms for seed, run in arm.runs.items()]
    for strategy, seed, run in runs:
        if not run.result.get("sound", True):
            yield f"{strategy}, seed {seed}, is unsound: over 1 % of the verdicts of a step or a waypoint are invalid"
    for arm in arms:
        if len({json.dumps(run.manifest.get("strategy")) for run in arm.runs.values()}) > 1:
            yield f"the seeds of {arm.strategy} were not all run with the same version and source of the strategy"
    first, *others = (_surroundings(run) for *_, run in runs)
    found = {key: pair for other in others for key, pair in _differences(first, other).items()}
    for key, (here, there) in found.items():
        yield f"{key} is {here!r} in some runs and {there!r} in others: their digits need not repeat elsewhere"


def _pairing_notes(rows: Sequence[Row], baseline: Arm) -> Iterator[str]:
    for row in rows:
        if row.strategy == baseline.strategy or row.seeds == row.shared_seeds == baseline.seeds:
            continue
        both = f"{row.strategy} and {baseline.strategy}"
        if row.shared_seeds:
            yield f"only seeds {format_seeds(row.shared_seeds)} are shared by {both}: their difference uses these"
        else:
            yield f"no seed is shared by {both}: there is no difference to show"


def format_seeds(seeds: Sequence[int]) -> str:
    """Seeds as people write them: 0-4, 7."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
