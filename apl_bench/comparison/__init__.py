"""Strategies side by side: recorded runs that differ in strategy and seed alone, and what their difference is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apl_bench.comparison.nouns import (
    BASELINE,
    Beside,
    Comparison,
    Costs,
    Difference,
    Learned,
    Plan,
    Point,
    RecordedRun,
    Row,
    Standing,
    format_seeds,
    share_wrong,
    strategy_label,
)

if TYPE_CHECKING:
    from apl_bench.comparison.comparing import compare

__all__ = [
    "BASELINE",
    "Beside",
    "Comparison",
    "Costs",
    "Difference",
    "Learned",
    "Plan",
    "Point",
    "RecordedRun",
    "Row",
    "Standing",
    "compare",
    "format_seeds",
    "share_wrong",
    "strategy_label",
]


def __getattr__(name: str) -> Any:
    if name != "compare":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from apl_bench.comparison.comparing import compare  # with scipy and statsmodels, when runs are compared

    return compare
