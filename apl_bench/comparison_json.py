"""A comparison as JSON, schema "apl-comparison/1": what `apl-bench compare --json` prints, a submission's results.json
holds, and the report and the leaderboard show. docs/statistics.md explains every number.

    {"schema": "apl-comparison/1", "name", "task", "preset", "regime", "settings": {"training.epochs": 2, ...},
     "num_prompts", "baseline": "random", "notes": [...],
     "family": {"alpha", "rule": "Holm", "declared": bool, "hypotheses": [{"strategy", "num_labels"}]} | null,
     "rows": [{
       "strategy", "version", "seeds": [...], "shared_seeds": [...],
       "ranked": bool, "unranked_because": str | null, "rank": [lo, hi] | null, "tied_with": [...],
       "curve": [{
         "num_labels", "win_rate", "se_seeds", "se_two_way", "interval": [lo, hi] | null,
         "win_rate_worst", "win_rate_best", "share_invalid", "share_first_shown", "by_seed": [...],
         "length_controlled": {"win_rate", "se", "slope"} | null,
         "difference": {"mean", "se_seeds", "se_two_way", "interval", "worst", "best", "sd_seeds", "num_seeds", "p",
                        "p_two_way", "p_holm", "smallest_detectable", "smallest_detectable_holm"} | null,
         "beside": {"kl", "mean_length", "repetition", "perplexity"}}],
       "area": {"mean", "se_seeds", "se_two_way", "interval"} | null,
       "area_difference": as a point's difference | null,
       "labels_to_target": {"target", "num_labels": x | null, "interval": [lo | null, hi | null], "censored": bool},
       "labels_saved": the same shape; both null where there is nothing to compute them from,
       "at_equal_kl": [{"kl": nats a completion, and as a point's difference, never of a family: its p_holm and
                        smallest_detectable are null}],
       "acquired": {"by_step": [{"step", "histogram": [20 counts], "share_wrong"}], "share_wrong",
                    "accuracy", "brier", "calibration_error", "score_error_correlation",
                    "share_invalid", "share_first_shown"},
       "costs": {"num_labels", "num_judge_calls", "acquisition_generated_tokens", "acquisition_scored_tokens",
                 "generated_tokens", "scored_tokens", "trained_tokens", "seconds", "cost_usd"}}]}

Rates are shares of 1; intervals are of 95 %; costs are means over the seeds. null stands wherever there is no number:
NaN and infinity are no JSON. Fields may be added to this schema; none changes its meaning or goes: a
submission of before states the same numbers for good. Sentences (notes, unranked_because) may get other words.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from apl_bench.comparison import BASELINE, Comparison, Difference, Point, Row, share_wrong
from apl_bench.statistics import Estimate
from apl_bench.statistics.labels import Labels

SCHEMA = "apl-comparison/1"
NUM_BINS = 20  # of figure 3, over 0 to 1


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain JSON values, in the schema above."""
    table = {
        "schema": SCHEMA,
        "name": comparison.name,
        "task": comparison.task,
        "preset": comparison.preset,
        "regime": comparison.regime,
        "settings": dict(comparison.settings),
        "num_prompts": comparison.num_prompts,
        "baseline": BASELINE,
        "notes": list(comparison.notes),
        "family": comparison.family and comparison.family.to_table(),
        "rows": [_row(row) for row in comparison.rows],
    }
    found: dict[str, Any] = finite(table)
    return found


def finite(value: Any) -> Any:
    """The same with null for every number that is none."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def histogram(probabilities: Sequence[float]) -> list[int]:
    """Counts in 20 equal bins from 0 to 1; a bin holds its lower end, the last one both."""
    counts, _ = np.histogram(np.array(probabilities), bins=NUM_BINS, range=(0, 1))
    return [int(count) for count in counts]


def _row(row: Row) -> dict[str, Any]:
    standing = row.standing
    return {
        "strategy": row.strategy,
        "version": row.version,
        "seeds": list(row.seeds),
        "shared_seeds": list(row.shared_seeds),
        "ranked": standing.rank is not None,
        "unranked_because": standing.unranked_because,
        "rank": list(standing.rank) if standing.rank else None,
        "tied_with": list(standing.tied_with),
        "curve": [_point(point) for point in row.curve],
        "area": _estimate(row.area) if row.area else None,
        "area_difference": row.area_difference and _difference(row.area_difference),
        "labels_to_target": _labels(row.to_target),
        "labels_saved": _labels(row.saved),
        "at_equal_kl": [{"kl": found.kl, **_difference(found.difference)} for found in row.at_kl],
        "acquired": _acquired(row),
        "costs": dataclasses.asdict(row.costs),
    }


def _point(point: Point) -> dict[str, Any]:
    controlled = point.length_controlled
    rate = point.win_rate
    return {
        "num_labels": point.num_labels,
        "win_rate": rate.mean,
        "se_seeds": rate.se_seeds,
        "se_two_way": rate.se_two_way,
        "interval": _interval(point.interval),
        "win_rate_worst": point.bounds.worst,
        "win_rate_best": point.bounds.best,
        "share_invalid": point.share_invalid,
        "share_first_shown": point.share_first_shown,
        "by_seed": list(point.by_seed),
        "length_controlled": dataclasses.asdict(controlled) if controlled else None,
        "difference": point.difference and _difference(point.difference),
        "beside": dataclasses.asdict(point.beside),
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    errors = {"se_seeds": estimate.se_seeds, "se_two_way": estimate.se_two_way}
    return {"mean": estimate.mean, **errors, "interval": _interval(estimate.interval)}


def _interval(ends: tuple[float, float]) -> list[float] | None:
    return list(ends) if math.isfinite(ends[0]) else None


def _difference(found: Difference) -> dict[str, Any]:
    return {
        **_estimate(found.estimate),
        **dataclasses.asdict(found.bounds),
        "sd_seeds": found.sd_seeds,
        "num_seeds": found.estimate.num_seeds,
        "p": found.p_value,
        "p_two_way": found.p_two_way,
        "p_holm": found.p_holm,
        "smallest_detectable": found.detectable,
        "smallest_detectable_holm": found.detectable_holm,
    }


def _labels(found: Labels | None) -> dict[str, Any] | None:
    if found is None:
        return None
    interval = [None, None] if found.interval is None else list(found.interval)
    return {"target": found.target, "num_labels": found.num_labels, "interval": interval, "censored": found.censored}


def _acquired(row: Row) -> dict[str, Any]:
    by_step = [
        {"step": number, "histogram": histogram(step), "share_wrong": share_wrong(step)}
        for number, step in enumerate(row.acquired, start=1)
    ]
    found = row.learned.calibration
    return {
        "by_step": by_step,
        "share_wrong": share_wrong([probability for step in row.acquired for probability in step]),
        "accuracy": found and found.accuracy,
        "brier": found and found.brier,
        "calibration_error": found and found.error,
        "score_error_correlation": row.learned.correlation,
        "share_invalid": row.learned.share_invalid,
        "share_first_shown": row.learned.share_first_shown,
    }
