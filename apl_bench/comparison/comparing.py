"""Recorded runs to rows: win rates, differences from random, labels saved, ranks, and what stands beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import starmap
from typing import TypeAlias

import numpy as np

from apl_bench.comparison.arms import arms_of, summary_at
from apl_bench.comparison.costs import costs
from apl_bench.comparison.grouping import Group, common_folder, groups_of
from apl_bench.comparison.learned import acquired, learned
from apl_bench.comparison.notes import notes_on
from apl_bench.comparison.nouns import (
    BASELINE,
    Arm,
    AtKl,
    Beside,
    Comparison,
    Difference,
    Outcomes,
    Plan,
    Point,
    RecordedRun,
    Row,
    Standing,
)
from apl_bench.comparison.standing import family_of, standings, tested
from apl_bench.statistics import Bounds, area_under_curve, bounds, estimate, paired_difference, seed_means
from apl_bench.statistics.equal_kl import outcomes_at, reached_by_all
from apl_bench.statistics.labels import Labels, efficiency, saved_to_fixed_target, to_fixed_target
from apl_bench.statistics.logistic import length_controlled
from apl_bench.statistics.ranks import t_test_p

Paired: TypeAlias = "tuple[Outcomes, Outcomes]"  # of a strategy and of the baseline, on the seeds that both have


def compare(runs: Sequence[RecordedRun], plan: Plan = Plan()) -> list[Comparison]:  # noqa: B008 - it is frozen
    """One comparison for each task, preset and settings among complete runs.

    Raises SpecError where runs of the same settings had other weights or data, were evaluated on different prompts, or
    are there twice, and where the plan names labels at which nothing was evaluated.
    """
    return [_compare_group(group, plan) for group in groups_of(runs)]


def _compare_group(group: Group, plan: Plan) -> Comparison:
    arms = arms_of(group.runs)
    baseline = next((arm for arm in arms if arm.strategy == BASELINE), None)
    standing = standings(arms, plan)
    rows = [_row(arm, baseline, standing[arm.strategy], plan) for arm in arms]
    rows.sort(key=lambda row: (row.standing.rank is None, -row.last.win_rate.mean if row.standing.rank else 0.0))
    family = family_of(rows, plan)
    rows = tested(rows, family)
    spec = group.runs[0].spec
    return Comparison(
        group.name,
        common_folder(group.runs),
        arms[0].y_WRP.shape[-1],
        tuple(rows),
        tuple(notes_on(spec, arms, rows, family)),
        spec.task.name,
        spec.preset,
        spec.loop.regime,
        group.settings,
        family,
        plan.target,
    )


def _row(arm: Arm, baseline: Arm | None, standing: Standing, plan: Plan) -> Row:
    is_other = baseline is not None and baseline is not arm
    shared = tuple(seed for seed in arm.seeds if seed in baseline.seeds) if baseline and is_other else ()
    paired = (arm.on(shared), baseline.on(shared)) if baseline and shared else None
    area = area_difference = None
    if len(arm.waypoints) > 1:
        area = estimate(area_under_curve(arm.y_WRP, arm.waypoints))
        if paired:
            area_difference = _difference(*(area_under_curve(one.y_WRP, arm.waypoints) for one in paired))
    to_target, saved = _labels(arm, paired, plan) if len(arm.waypoints) > 1 else (None, None)
    probabilities = acquired(arm)
    return Row(
        strategy=arm.strategy,
        version=_version(next(iter(arm.runs.values()))),
        seeds=arm.seeds,
        shared_seeds=shared,
        curve=tuple(starmap(lambda w, num: _point(arm, w, num, paired), enumerate(arm.waypoints))),
        area=area,
        area_difference=area_difference,
        acquired=probabilities,
        standing=standing,
        to_target=to_target,
        saved=saved,
        at_kl=tuple(_at_equal_kl(*paired)) if paired else (),
        learned=learned(arm, probabilities),
        costs=costs(arm),
    )


def _labels(arm: Arm, paired: Paired | None, plan: Plan) -> tuple[Labels | None, Labels | None]:
    """Labels needed, and labels saved, both for one target: the one that was stated, or the baseline's last rate."""
    num_labels = np.array(arm.waypoints)
    if plan.target is not None:
        saved = saved_to_fixed_target(*_curves(paired), plan.target, num_labels) if paired else None
        return to_fixed_target(arm.y_WRP, plan.target, num_labels), saved
    found = efficiency(*_curves(paired), num_labels) if paired else None
    return (found.to_target, found.saved) if found else (None, None)


def _curves(paired: Paired) -> tuple[np.ndarray, np.ndarray]:
    ours, theirs = paired
    return ours.y_WRP, theirs.y_WRP


def _at_equal_kl(ours: Outcomes, theirs: Outcomes) -> Iterator[AtKl]:
    """Minus the baseline, wherever all these seeds of both have been. A verdict that is invalid at either waypoint
    counts as invalid between, so that the bounds are wider than they might be."""
    for nats in reached_by_all(ours.kl_WR, theirs.kl_WR):
        yield AtKl(nats, _difference(*(outcomes_at(*one, nats) for one in (ours, theirs))))


def _point(arm: Arm, w: int, num_labels: int, paired: Paired | None) -> Point:
    y_RP = arm.y_WRP[w]
    return Point(
        num_labels=num_labels,
        win_rate=estimate(y_RP),
        bounds=bounds(y_RP),
        difference=_difference(*(one.y_WRP[w] for one in paired)) if paired else None,
        beside=Beside.over([summary_at(run, num_labels) for run in arm.runs.values()]),
        share_invalid=float(np.isnan(y_RP).mean()),
        share_first_shown=arm.share_first_shown_W[w],
        length_controlled=length_controlled(y_RP, arm.log_ratio_WRP[w]),
        by_seed=tuple(seed_means(y_RP).tolist()),
    )


def _difference(y_RP: np.ndarray, baseline_RP: np.ndarray) -> Difference:
    found = paired_difference(y_RP, baseline_RP)
    ours, theirs = bounds(y_RP), bounds(baseline_RP)
    return Difference(
        found.estimate,
        found.sd_seeds,
        found.p_value,
        t_test_p(found.estimate),
        Bounds(ours.worst - theirs.best, ours.best - theirs.worst),
    )


def _version(run: RecordedRun) -> str | None:
    """Where the strategy is from, as the run recorded it: the distribution and its version."""
    origin = run.manifest.get("strategy", {}).get("origin")
    return None if origin is None else str(origin)
