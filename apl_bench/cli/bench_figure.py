"""The figure of a benchmark run: how many times as fast, side by side."""

from __future__ import annotations

import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from apl_bench.benchmarks.results import Race, Ratio, Report, heading_of
from apl_bench.report.drawing import COLOURS, GREY, plain, save

FASTER, SLOWER = COLOURS[:2]
NAME_LETTERS = 34  # in a line
ROW_INCHES = 0.3


def draw(report: Report, path: Path) -> None:
    """A bar for each contender that ours was held against, from 1 to the ratio, with a line from the smallest turn to
    the largest."""
    num_rows = sum(1 + len(race.ratios) for race in report.races)
    figure = Figure(figsize=(8.0, 1.3 + ROW_INCHES * num_rows), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log", base=2)
    axes.axvline(1.0, color=GREY, linewidth=0.8, zorder=0)
    ticks: dict[int, str] = {}
    row = 0
    for race in report.races:
        _head(axes, row, race)
        for offset, (name, ratio) in enumerate(race.ratios.items(), start=1):
            _bar(axes, row + offset, ratio)
            ticks[row + offset] = textwrap.fill(plain(name), NAME_LETTERS)
        row += 1 + len(race.ratios)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=7)
    _frame(axes, report, num_rows)
    axes.set_title(_title(report), fontsize=9, loc="left")
    save(figure, path)


def _head(axes: Axes, row: int, race: Race) -> None:
    axes.text(0.0, row + 0.12, plain(heading_of(race)), transform=axes.get_yaxis_transform(), fontsize=7,
              fontweight="bold", va="center", bbox={"color": "white", "pad": 1})  # fmt: skip


def _bar(axes: Axes, row: int, ratio: Ratio) -> None:
    colour = FASTER if ratio.median >= 1 else SLOWER
    axes.barh(row, ratio.median - 1, left=1, height=0.6, color=colour, alpha=0.75)
    axes.plot([ratio.smallest, ratio.largest], [row, row], color="black", linewidth=1)
    axes.annotate(f"{ratio.median:.2f}", (max(1.0, ratio.largest), row), xytext=(4, 0), textcoords="offset points",
                  va="center", fontsize=7)  # fmt: skip


def _frame(axes: Axes, report: Report, num_rows: int) -> None:
    """The axis from below the slowest to beyond the fastest, in powers of 2."""
    ratios = [ratio for race in report.races for ratio in race.ratios.values()]
    axes.set_xlim(min(0.9, *(ratio.smallest * 0.95 for ratio in ratios)), max(2.2, *(r.largest for r in ratios)) * 1.25)
    axes.xaxis.set_major_locator(LogLocator(base=2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(num_rows - 0.4, -0.6)
    axes.set_xlabel(
        "times as fast as the contender (bar: median over turns; line: smallest to largest turn)", fontsize=8
    )
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _title(report: Report) -> str:
    facts = report.environment
    return plain(f"apl-bench {facts['apl-bench']}, {facts['device']}, {facts['threads']} threads, {facts['dtype']}, "
                 f"torch {facts['torch']}, TRL {facts['trl'] or 'not installed'}")  # fmt: skip
