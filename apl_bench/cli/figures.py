"""The two figures of a comparison: learning curves, and what the acquired batches looked like (figure 3 of the paper).

matplotlib is an extra and is imported by this module alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from apl_bench.cli.console import safe
from apl_bench.comparison import BASELINE, Comparison, Row, share_wrong

# Okabe and Ito's palette (2008), told apart under the common colour blindnesses; yellow left out, black kept for random
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C564B")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BASELINE_STYLE = {"color": "#000000", "marker": ".", "linestyle": (0, (4, 2))}
RIGHT, WRONG = "#0072B2", "#D55E00"
GREY = "#767676"
MAX_STEPS = 6
MAX_TICKS = 10
NUM_BINS = 20
LABEL_HEIGHT = 0.045  # of the axis, at the figure's size
DPI = 160
TITLE_LETTERS = 80  # in a line


def draw_curves(comparison: Comparison, path: Path) -> list[str]:
    """Win rate against labels, a band of one two-way standard error on each side; returns what a reader has to know."""
    shown = _most_telling(comparison.rows)
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0.5, color=GREY, linewidth=0.8, zorder=0)
    for row, style in zip(shown, _styles(shown), strict=True):
        labels = np.array([point.num_labels for point in row.curve])
        rates = np.array([point.win_rate.mean for point in row.curve])
        errors = np.nan_to_num([point.win_rate.se_two_way for point in row.curve])
        axes.fill_between(labels, rates - errors, rates + errors, color=style["color"], alpha=0.13, linewidth=0)
        axes.plot(labels, rates, linewidth=1.6, markersize=5, **style)
    axes.set(xlabel="labels bought", ylabel="win rate")
    axes.set_title(_title(comparison, shown), fontsize=10, loc="left")
    if len(shown[0].curve) <= MAX_TICKS:
        axes.set_xticks([point.num_labels for point in shown[0].curve])
    axes.margins(x=0.02)
    _label_ends(axes, shown)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    left_out = [row.strategy for row in comparison.rows if row not in shown]
    return [f"{path.name} shows {len(shown)} strategies; left out: {', '.join(left_out)}"] if left_out else []


def draw_acquired(comparison: Comparison, path: Path) -> list[str]:
    """For each strategy and step, how probable the policy's implicit preference thought the labels it bought."""
    rows, num_steps = comparison.rows, min(len(row.acquired) for row in comparison.rows)
    steps = sorted({round(step) for step in np.linspace(0, num_steps - 1, MAX_STEPS)})
    figure = Figure(figsize=(1.2 + 1.7 * len(steps), 0.9 + 1.25 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(steps), sharex=True, sharey=True, squeeze=False)
    for row, panels in zip(rows, grid, strict=True):
        panels[0].set_ylabel(plain(row.strategy), rotation=0, ha="right", va="center", fontsize=9)
        for step, axes in zip(steps, panels, strict=True):
            _histogram(axes, row.acquired[step])
    for step, axes in zip(steps, grid[0], strict=True):
        axes.set_title(f"step {step + 1}", fontsize=9)
    title = textwrap.fill(f"{plain(comparison.name)}: what was bought, by step", TITLE_LETTERS)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    figure.supxlabel(
        "probability that the policy's implicit preference gave to the label  (below 0.5: wrong)", fontsize=9
    )
    figure.supylabel("share of the batch", fontsize=9)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return [f"{path.name} shows {len(steps)} of {num_steps} steps"] if len(steps) < num_steps else []


def _most_telling(rows: Sequence[Row]) -> list[Row]:
    """As many rows as can be told apart, random among them."""
    baseline = [row for row in rows if row.strategy == BASELINE]
    others = [row for row in rows if row.strategy != BASELINE]
    kept = [*baseline, *others[: len(COLOURS)]]
    return [row for row in rows if row in kept]


def _styles(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A colour and a marker for each strategy, given in order of name, so that they do not depend on the result."""
    others = sorted(row.strategy for row in rows if row.strategy != BASELINE)
    styles: dict[str, dict[str, Any]] = {BASELINE: dict(BASELINE_STYLE)}
    for i, name in enumerate(others):
        styles[name] = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
    return [styles[row.strategy] for row in rows]


def _title(comparison: Comparison, rows: Sequence[Row]) -> str:
    fewest, most = min(len(row.seeds) for row in rows), max(len(row.seeds) for row in rows)
    seeds = "1 seed" if most == 1 else f"{most} seeds" if fewest == most else f"{fewest}-{most} seeds"
    title = f"{plain(comparison.name)}, {seeds}, {comparison.num_prompts} test prompts (band: one two-way SE)"
    return textwrap.fill(title, TITLE_LETTERS)


def _label_ends(axes: Axes, rows: Sequence[Row]) -> None:
    """Write each strategy's name beside the end of its curve, as near as the names fit above one another."""
    placed = [(row, style) for row, style in zip(rows, _styles(rows), strict=True) if np.isfinite(_end(row))]
    placed.sort(key=lambda item: _end(item[0]))
    bottom, top = axes.get_ylim()
    heights = spread([_end(row) for row, _ in placed], gap=(top - bottom) * LABEL_HEIGHT)
    for (row, style), height in zip(placed, heights, strict=True):
        axes.annotate(
            plain(row.strategy),
            xy=(row.last.num_labels, _end(row)),
            xytext=(1.03, height),
            textcoords=axes.get_yaxis_transform(),
            arrowprops={"arrowstyle": "-", "color": style["color"], "linewidth": 0.6, "relpos": (0, 0.5)},
            color=style["color"],
            va="center",
            fontsize=9,
            annotation_clip=False,
        )


def plain(text: str) -> str:
    """A name as matplotlib draws it letter by letter: not as a formula between dollar signs."""
    return safe(text).replace("$", r"\$")


def _end(row: Row) -> float:
    return row.last.win_rate.mean


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights at least `gap` apart, nearest in squares to these increasing ones (by pooling adjacent violators)."""
    blocks: list[list[float]] = []
    for i, height in enumerate(heights):
        blocks.append([height - i * gap])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    levels = [float(np.mean(block)) for block in blocks for _ in block]
    return [level + i * gap for i, level in enumerate(levels)]


def _histogram(axes: Axes, probabilities: Sequence[float]) -> None:
    """Shares of a batch in 20 bins, the wrong half in another colour; a batch without any margin has no histogram."""
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    values = np.array(probabilities)
    if len(values) == 0 or (values == 0.5).all():
        text = "no labels" if len(values) == 0 else "no margin yet"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=8, color=GREY)
        return
    shares, edges = np.histogram(values, bins=NUM_BINS, range=(0, 1), weights=np.full(len(values), 1 / len(values)))
    colours = [WRONG if edge < 0.5 - 1e-9 else RIGHT for edge in edges[:-1]]
    axes.bar(edges[:-1], shares, width=1 / NUM_BINS, align="edge", color=colours)
    axes.axvline(0.5, color=GREY, linewidth=0.6)
    wrong = f"{share_wrong(probabilities):.0%} wrong"
    axes.text(0.03, 0.9, wrong, transform=axes.transAxes, fontsize=7, color=WRONG, va="top")
