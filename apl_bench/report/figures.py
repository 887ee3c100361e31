"""The figures of a comparison: learning curves, differences from random, what was bought (figure 3 of the paper), win
rate against what it cost, and where the time went.

Each function returns a figure, so that a page and a file show the same. Where there are more strategies than can be
told apart, they are shared out over panels of the same axes, random in each: none is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, PercentFormatter

from apl_bench.report.drawing import COLOURS, GREY, MAX_TICKS, RIGHT, WRONG, plain, spread, styles
from apl_bench.report.results import Arm, Batch, Point, Results, Value

MAX_STEPS = 6
LABEL_HEIGHT = 0.06  # of the axis, at the figure's size
WIDTH, HEIGHT = 4.7, 3.2  # inches of a panel: a column of a paper, and not much wider than a phone
NAME_LETTERS = 26
DODGE = 0.012  # of the range of labels, between error bars at the same waypoint


class Axis(NamedTuple):
    """What win rate is drawn against: its name, and for each strategy a value at each waypoint (None: not known)."""

    name: str
    unit: str
    values: Mapping[str, Sequence[float | None]]


def curves(results: Results) -> Figure:
    """Win rate against labels, with bands of two-way intervals of 95 %."""
    panels = _panels(results)
    figure, grid = _grid(len(panels))
    for axes, arms in zip(grid, panels, strict=True):
        axes.axhline(0.5, color=GREY, linewidth=0.8, zorder=0)
        for arm, style in _styled(arms, results.baseline):
            labels = [point.num_labels for point in arm.curve]
            low, high = zip(*(_ends(point.rate) for point in arm.curve), strict=True)
            axes.fill_between(labels, low, high, color=style["color"], alpha=0.13, linewidth=0)
            axes.plot(labels, [_or_nan(point.rate.mean) for point in arm.curve], linewidth=1.5, markersize=4.5, **style)
        axes.set_ylabel("win rate (band: 95 % interval)", fontsize=9)
        _label_axis(axes, arms[0].curve)
    for axes, arms in zip(grid, panels, strict=True):  # when all have drawn: they share their limits
        _label_ends(axes, [(arm, style, _or_nan(arm.last.rate.mean)) for arm, style in _styled(arms, results.baseline)])
    return figure


def differences(results: Results) -> Figure | None:
    """Win rate minus the baseline's, paired by seed and prompt, with intervals of 95 %; None where there are none."""
    panels = [[arm for arm in arms if arm.last.difference] for arms in _panels(results)]
    panels = [arms for arms in panels if arms]
    if not panels:
        return None
    figure, grid = _grid(len(panels))
    for axes, arms in zip(grid, panels, strict=True):
        axes.axhline(0.0, color="#000000", linewidth=1.2, linestyle=(0, (4, 2)), zorder=0)
        styled = _styled(arms, results.baseline)
        for place, (arm, style) in enumerate(styled):
            shift = DODGE * (place - (len(styled) - 1) / 2) * (arm.last.num_labels - arm.curve[0].num_labels)
            found = [(point.num_labels + shift, point.difference.value) for point in arm.curve if point.difference]
            _with_bars(axes, found, style)
        axes.set_ylabel(f"win rate minus {plain(results.baseline)}'s", fontsize=9)
        _label_axis(axes, arms[0].curve)
    for axes, arms in zip(grid, panels, strict=True):
        ends = [(arm, style, _or_nan(arm.last.difference.value.mean))
                for arm, style in _styled(arms, results.baseline) if arm.last.difference]  # fmt: skip
        _label_ends(axes, ends)
    return figure


def against(results: Results, axis: Axis) -> Figure:
    """Win rate with intervals of 95 % against what a waypoint had taken until then, through the waypoints in order."""
    panels = _panels(results)
    figure, grid = _grid(len(panels), name_room=0.28)
    for axes, arms in zip(grid, panels, strict=True):
        axes.axhline(0.5, color=GREY, linewidth=0.8, zorder=0)
        for arm, style in _styled(arms, results.baseline):
            pairs = zip(axis.values[arm.strategy], arm.curve, strict=True)
            found = [(value, point.rate) for value, point in pairs if value is not None]
            _with_bars(axes, found, {**style, "label": _short(arm.strategy)})
        axes.set_xlabel(axis.name, fontsize=9)
        axes.set_ylabel("win rate (bars: 95 % intervals)", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        if axis.unit:
            axes.xaxis.set_major_formatter(EngFormatter(unit="" if axis.unit == "1" else axis.unit))
        _bare(axes)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=8, frameon=False)
    return figure


def acquired(results: Results) -> Figure:
    """For each strategy and step, how probable the policy's implicit preference thought the labels it bought."""
    arms = results.arms
    steps = shown_steps(results)
    figure = Figure(figsize=(1.5 + 1.45 * len(steps), 0.8 + 1.05 * len(arms)), layout="constrained")
    grid = figure.subplots(len(arms), len(steps), sharex=True, sharey=True, squeeze=False)
    for arm, panels in zip(arms, grid, strict=True):
        panels[0].set_ylabel(_short(arm.strategy), rotation=0, ha="right", va="center", fontsize=9)
        for step, axes in zip(steps, panels, strict=True):
            _histogram(axes, arm.acquired[step])
    for step, axes in zip(steps, grid[0], strict=True):
        axes.set_title(f"step {step + 1}", fontsize=9)
    figure.supxlabel("probability given to the label before it was bought  (below 0.5: wrong)", fontsize=9)
    figure.supylabel("share of the batch", fontsize=9)
    return figure


def shown_steps(results: Results) -> list[int]:
    """Places of the steps that `acquired` shows: all, or the first, the last and some between."""
    num_steps = min(len(arm.acquired) for arm in results.arms)
    return sorted({round(step) for step in np.linspace(0, num_steps - 1, min(num_steps, MAX_STEPS))})


def stages(seconds: Mapping[str, Mapping[str, float]]) -> Figure:
    """Seconds of a run by stage, for each strategy: bars whose parts stand in one order."""
    totals: dict[str, float] = {}
    for by_stage in seconds.values():
        for stage, spent in by_stage.items():
            totals[stage] = totals.get(stage, 0.0) + spent
    order = sorted(totals, key=lambda stage: -totals[stage])
    figure = Figure(figsize=(WIDTH, 1.1 + 0.3 * len(seconds)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(seconds))
    for place, stage in enumerate(order):
        widths = np.array([by_stage.get(stage, 0.0) for by_stage in seconds.values()])
        axes.barh(range(len(seconds)), widths, left=left, height=0.66, label=plain(stage),
                  color=COLOURS[place % len(COLOURS)], edgecolor="#ffffff", linewidth=0.6)  # fmt: skip
        left += widths
    axes.set_yticks(range(len(seconds)), [_short(name) for name in seconds], fontsize=9)
    axes.set_ylim(len(seconds) - 0.5, -0.5)
    axes.set_xlabel("seconds a run, mean over seeds", fontsize=9)
    axes.tick_params(axis="y", length=0)
    _bare(axes)
    figure.legend(loc="outside lower center", ncols=min(len(order), 4), fontsize=8, frameon=False)
    return figure


def _panels(results: Results) -> list[list[Arm]]:
    """Strategies in groups that can be told apart, each in the order of the rows and with the baseline among them."""
    others = [arm for arm in results.arms if arm is not results.baseline_arm]
    size = len(COLOURS)
    groups = [others[start : start + size] for start in range(0, len(others), size)] or [[]]
    kept = [{arm.strategy for arm in group} | {results.baseline} for group in groups]
    return [[arm for arm in results.arms if arm.strategy in names] for names in kept]


def _grid(num_panels: int, name_room: float = 0.0) -> tuple[Figure, list[Axes]]:
    size = (WIDTH, (HEIGHT + name_room) * num_panels)
    figure = Figure(figsize=size, layout="constrained")
    return figure, [row[0] for row in figure.subplots(num_panels, 1, sharex=True, sharey=True, squeeze=False)]


def _styled(arms: Sequence[Arm], baseline: str) -> list[tuple[Arm, dict[str, Any]]]:
    found = styles([arm.strategy for arm in arms], baseline)
    return [(arm, found[arm.strategy]) for arm in arms]


def _with_bars(axes: Axes, found: Sequence[tuple[float, Value]], style: Mapping[str, Any]) -> None:
    """A line through the means, and upright bars where there are intervals."""
    x = [place for place, _ in found]
    for place, value in found:
        low, high = _ends(value)
        axes.plot([place, place], [low, high], color=style["color"], linewidth=1.0, zorder=2)
    axes.plot(x, [_or_nan(value.mean) for _, value in found], linewidth=1.2, markersize=4.5, zorder=3, **style)


def _ends(value: Value) -> tuple[float, float]:
    return _or_nan(value.low), _or_nan(value.high)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _label_axis(axes: Axes, curve: Sequence[Point]) -> None:
    axes.set_xlabel("labels bought", fontsize=9)
    if len(curve) <= MAX_TICKS:
        axes.set_xticks([point.num_labels for point in curve])
    axes.margins(x=0.03)
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _label_ends(axes: Axes, ends: Sequence[tuple[Arm, Mapping[str, Any], float]]) -> None:
    """Write each strategy's name beside the end of its curve, as near as the names fit above one another."""
    placed = sorted((end for end in ends if np.isfinite(end[2])), key=lambda end: end[2])
    bottom, top = axes.get_ylim()
    heights = spread([height for _, _, height in placed], gap=(top - bottom) * LABEL_HEIGHT)
    for (arm, style, end), height in zip(placed, heights, strict=True):
        axes.annotate(
            _short(arm.strategy),
            xy=(arm.last.num_labels, end),
            xytext=(1.07, height),
            textcoords=axes.get_yaxis_transform(),
            arrowprops={"arrowstyle": "-", "color": style["color"], "linewidth": 0.6, "relpos": (0, 0.5)},
            va="center",
            fontsize=9,
            annotation_clip=False,
        )
        axes.plot([1.05], [height], transform=axes.get_yaxis_transform(), clip_on=False, markersize=5,
                  color=style["color"], marker=style["marker"],
                  markerfacecolor=style.get("markerfacecolor", style["color"]))  # fmt: skip


def _short(name: str) -> str:
    shown = name if len(name) <= NAME_LETTERS else name[: NAME_LETTERS - 1] + "…"
    return plain(shown)


def _histogram(axes: Axes, batch: Batch) -> None:
    """Shares of a batch in bins, the wrong half in another colour; a batch without any margin has no histogram."""
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".removeprefix("0") or "0"))
    axes.set_xticks([0, 0.5, 1])
    _bare(axes)
    num = sum(batch.counts)
    if not num or batch.share_wrong is None:
        text = "no labels" if not num else "no margin yet"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=8, color=GREY)
        return
    edges = np.arange(len(batch.counts)) / len(batch.counts)
    colours = [WRONG if edge < 0.5 - 1e-9 else RIGHT for edge in edges]
    shares = [count / num for count in batch.counts]
    axes.bar(edges, shares, width=1 / len(batch.counts), align="edge", color=colours)
    axes.axvline(0.5, color=GREY, linewidth=0.6)
    wrong = f"{batch.share_wrong:.0%} wrong"
    axes.text(0.03, 0.97, wrong, transform=axes.transAxes, fontsize=7.5, va="top")
