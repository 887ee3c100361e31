"""Comparisons as JSON for figures and pages, with numbers that are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apl_bench.report.results import Results


def row(strategy: str, rate: float | None, num_steps: int = 2, error: float = 0.01, **changes: Any) -> dict[str, Any]:
    """A strategy of three seeds at 0 and 64 labels; in each step after the first a quarter of the labels is wrong."""
    difference = None if strategy == "random" or rate is None else value(rate - 0.7, error, "mean")
    more = {"p": 0.25, "p_holm": 0.5, "smallest_detectable_holm": 0.05, "num_seeds": 3}
    curve = [point(0, 0.5, error, None), point(64, rate, error, difference and {**difference, **more})]
    nothing, some = [0] * 10 + [4] + [0] * 9, [0, 0, 1, *[0] * 11, 1, 0, 1, 0, 1, 0]
    steps = [{"step": 1, "histogram": nothing, "share_wrong": None}]
    steps += [{"step": step, "histogram": some, "share_wrong": 0.25} for step in range(2, num_steps + 1)]
    found = {
        "strategy": strategy, "seeds": [0, 1, 2], "ranked": True, "rank": [1, 2], "tied_with": [], "curve": curve,
        "area": value(0.6, error, "mean"), "area_difference": None, "labels_to_target": None, "labels_saved": None,
        "at_equal_kl": [{"kl": kl, **value(-0.01, error, "mean"), "p": 0.25} for kl in (1.0, 2.0) if difference],
        "acquired": {"by_step": steps, "share_wrong": 0.25}, "costs": {},
    }  # fmt: skip
    return {**found, **changes}


def value(mean: float | None, error: float, name: str) -> dict[str, Any]:
    interval = None if mean is None else [mean - 2 * error, mean + 2 * error]
    return {name: mean, "interval": interval, "se_two_way": error, "se_seeds": error}


def point(num_labels: int, rate: float | None, error: float, difference: dict[str, Any] | None) -> dict[str, Any]:
    beside = {"kl": num_labels / 10, "mean_length": 20.0, "repetition": 0.02, "perplexity": 40.0}
    return {"num_labels": num_labels, **value(rate, error, "win_rate"), "difference": difference, "beside": beside,
            "share_invalid": 0.0}  # fmt: skip


def table(rows: Sequence[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    about = {"schema": "apl-comparison/1", "name": "imdb-lite", "task": "imdb", "preset": "lite", "regime": "restart",
             "settings": {}, "num_prompts": 8, "baseline": "random", "notes": [], "family": None}  # fmt: skip
    return {**about, "rows": list(rows), **changes}


def results(*rows: dict[str, Any], **changes: Any) -> Results:
    return Results.read(table(rows, **changes))
