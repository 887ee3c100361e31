"""Who has a rank, which one, and what the family of hypotheses says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from apl_bench.comparison.nouns import BASELINE, Arm, Difference, Plan, Point, Row, Standing, format_seeds
from apl_bench.power import detectable_difference, smallest_sign_flip_p
from apl_bench.statistics import Family, Hypothesis, estimate, holm
from apl_bench.statistics.ranks import rank_intervals
from apl_bench.tally import MAX_INVALID_SHARE
from apl_bench.types import SpecError


def standings(arms: Sequence[Arm], plan: Plan) -> dict[str, Standing]:
    """By strategy. Ranks are of those that can be compared on equal terms: a number that is missing, or stands for
    other seeds, has no place above or below another."""
    seeds = _seeds_of_most(arms)
    reasons = {arm.strategy: _why_unranked(arm, seeds, plan) for arm in arms}
    ranked = [arm for arm in arms if reasons[arm.strategy] is None]
    ranks = rank_intervals([arm.y_WRP[-1] for arm in ranked])
    names = [arm.strategy for arm in ranked]
    found = {arm.strategy: Standing(None, (), reasons[arm.strategy]) for arm in arms}
    for name, rank in zip(names, ranks, strict=True):
        found[name] = Standing((rank.best, rank.worst), tuple(names[other] for other in rank.tied), None)
    return found


def _seeds_of_most(arms: Sequence[Arm]) -> tuple[int, ...]:
    """The baseline's seeds; without one the most seeds that a strategy has."""
    baseline = next((arm for arm in arms if arm.strategy == BASELINE), None)
    return baseline.seeds if baseline else max((arm.seeds for arm in arms), key=len)


def _why_unranked(arm: Arm, seeds: tuple[int, ...], plan: Plan) -> str | None:
    last_RP = arm.y_WRP[-1]
    if arm.strategy in plan.unranked:
        return "it is shown for comparison only"
    if math.isnan(estimate(last_RP).mean):
        return "its win rate at the last waypoint is missing"
    share = float(np.isnan(last_RP).mean())
    if share > MAX_INVALID_SHARE:
        return f"{100 * share:.1f} % of its verdicts at the last waypoint are invalid, which is over 1 %"
    if arm.seeds != seeds:
        return f"it has seeds {format_seeds(arm.seeds)}, and the others are ranked on {format_seeds(seeds)}"
    return None


def family_of(rows: Sequence[Row], plan: Plan) -> Family | None:
    """The one that was declared; else each other ranked strategy against the baseline at the last waypoint. None where
    there is nothing to test. Raises SpecError for a hypothesis at labels that are no waypoint."""
    if plan.family is not None:
        _refuse_other_waypoints(rows, plan.family)
        return plan.family
    found = tuple(
        Hypothesis(row.strategy, row.last.num_labels)
        for row in sorted(rows, key=lambda row: row.strategy)
        if row.strategy != BASELINE and row.standing.rank and row.last.difference
    )
    return Family(found) if found else None


def _refuse_other_waypoints(rows: Sequence[Row], family: Family) -> None:
    waypoints = [point.num_labels for point in rows[0].curve]
    for one in family.hypotheses:
        if one.num_labels not in waypoints:
            raise SpecError(f"the family has {one.strategy} at {one.num_labels} labels, where nothing was evaluated; "
                            f"expected one of {', '.join(map(str, waypoints))}")  # fmt: skip
        if one.strategy == BASELINE:
            raise SpecError(f"the family has {BASELINE} against itself; name the other strategies")


def tested(rows: Sequence[Row], family: Family | None) -> list[Row]:
    """The rows with what the family says of each difference. A hypothesis without a p-value counts in the correction:
    it was declared."""
    adjusted = dict(_adjusted(rows, family)) if family else {}
    return [_tested_row(row, adjusted, family) for row in rows]


def _adjusted(rows: Sequence[Row], family: Family) -> Iterator[tuple[Hypothesis, float]]:
    p_values = {
        Hypothesis(row.strategy, point.num_labels): point.difference.p_value
        for row in rows for point in row.curve if point.difference
    }  # fmt: skip
    yield from zip(family.hypotheses, holm([p_values.get(one, math.nan) for one in family.hypotheses]), strict=True)


def _tested_row(row: Row, adjusted: Mapping[Hypothesis, float], family: Family | None) -> Row:
    def tell(found: Difference | None, p_holm: float | None) -> Difference | None:
        return found and _with_power(replace(found, p_holm=p_holm), family)

    def point(at: Point) -> Point:
        return replace(at, difference=tell(at.difference, adjusted.get(Hypothesis(row.strategy, at.num_labels))))

    return replace(row, curve=tuple(map(point, row.curve)), area_difference=tell(row.area_difference, None))


def _with_power(found: Difference, family: Family | None) -> Difference:
    alpha = family.alpha if family else 0.05
    num = len(family.hypotheses) if family else 1
    return replace(found, detectable=_detectable(found, alpha), detectable_holm=_detectable(found, alpha / num))


def _detectable(found: Difference, alpha: float) -> float | None:
    num = found.estimate.num_seeds
    if math.isnan(found.sd_seeds) or smallest_sign_flip_p(num) > alpha:
        return None
    return detectable_difference(num, found.sd_seeds, alpha)
