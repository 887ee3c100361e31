"""Strategies side by side: recorded runs that differ in strategy and seed alone, and what their difference is worth."""

from __future__ import annotations

from apl_bench.comparison.comparing import compare
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
