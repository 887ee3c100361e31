"""Recorded evaluations as arrays: outcomes and lengths by waypoint, seed and prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from apl_bench.comparison.nouns import Arm, RecordedRun, strategy_label
from apl_bench.records import outcomes_of
from apl_bench.summary import tally
from apl_bench.tally import Tally
from apl_bench.types import SpecError


@dataclass(frozen=True)
class _Evaluation:
    """One run at one waypoint, prompts in the order that all share."""

    y_P: np.ndarray
    log_ratio_P: np.ndarray
    tally: Tally
    num_judge_calls: int


def arms_of(runs: Sequence[RecordedRun]) -> list[Arm]:
    """Runs by strategy, with their outcomes; strategies by name, seeds in order. SpecError for a seed that is there
    twice, or runs that were evaluated on other prompts."""
    by_strategy: dict[str, dict[int, RecordedRun]] = {}
    for run in sorted(runs, key=lambda run: (strategy_label(run.spec), run.spec.seed)):
        seeds = by_strategy.setdefault(strategy_label(run.spec), {})
        if run.spec.seed in seeds:
            raise SpecError(f"seed {run.spec.seed} of {strategy_label(run.spec)} is there twice, {run.path} and "
                            f"{seeds[run.spec.seed].path}; name one of them")  # fmt: skip
        seeds[run.spec.seed] = run
    prompts = sorted(outcomes_of(runs[0].all_waypoint_rows(runs[0].spec.loop.waypoints[0])))
    return [_arm(strategy, seeds, prompts) for strategy, seeds in by_strategy.items()]


def _arm(strategy: str, runs: Mapping[int, RecordedRun], prompts: Sequence[str]) -> Arm:
    waypoints = next(iter(runs.values())).spec.loop.waypoints
    found = [[_evaluation(run, num, prompts) for run in runs.values()] for num in waypoints]
    return Arm(
        strategy,
        runs,
        np.array([[one.y_P for one in seeds] for seeds in found]),
        np.array([[one.log_ratio_P for one in seeds] for seeds in found]),
        np.array([[_kl(run, num) for run in runs.values()] for num in waypoints]),
        tuple(share_first_shown([one.tally for one in seeds]) for seeds in found),
        sum(one.num_judge_calls for seeds in found for one in seeds),
    )


def _evaluation(run: RecordedRun, num_labels: int, prompts: Sequence[str]) -> _Evaluation:
    rows = [row for row in run.all_waypoint_rows(num_labels) if row["kind"] == "comparison"]
    outcomes = outcomes_of(rows)
    if outcomes.keys() != set(prompts):
        shared = len(outcomes.keys() & set(prompts))
        raise SpecError(f"{run.path} was evaluated on other prompts at {num_labels} labels: {len(outcomes)}, of which "
                        f"{shared} are among the {len(prompts)} of the other runs; their data differ")  # fmt: skip
    log_ratios = {row["prompt_id"]: _log_ratio(row) for row in rows}
    return _Evaluation(
        np.array([outcomes[prompt] for prompt in prompts]),
        np.array([log_ratios[prompt] for prompt in prompts]),
        tally(rows),
        sum(len(row["keys"]) for row in rows),
    )


def _kl(run: RecordedRun, num_labels: int) -> float:
    """Nats a completion; NaN where it was not recorded."""
    found = summary_at(run, num_labels).get("kl")
    return math.nan if found is None else float(found)


def summary_at(run: RecordedRun, num_labels: int) -> Mapping[str, Any]:
    """What a run's result.json says of a waypoint. Raises SpecError where it lacks it."""
    found: Mapping[str, Any]
    for found in run.result["waypoints"]:
        if found["num_labels"] == num_labels:
            return found
    raise SpecError(
        f"{run.path}/result.json lacks the waypoint of {num_labels} labels; try: apl-bench replay {run.path}"
    )


def _log_ratio(row: Mapping[str, Any]) -> float:
    """Doublings of the policy's text against the opponent's, in characters without white space around; one more on
    both sides, so that an empty text has a ratio."""
    ours, theirs = (len(row[side]["text"].strip()) + 1 for side in ("policy", "opponent"))
    return float(np.log2(ours / theirs))


def share_first_shown(tallies: Sequence[Tally]) -> float | None:
    """Share of decided verdicts for what was shown first; None where none was decided."""
    decided = sum(one.wins + one.losses for one in tallies)
    return sum(one.first_shown_wins for one in tallies) / decided if decided else None
