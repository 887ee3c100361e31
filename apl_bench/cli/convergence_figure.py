"""The figure of `apl-bench converge`: loss and win rate against epochs (figure 6 of the paper).

matplotlib is an extra, and is imported by the modules of figures alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apl_bench.convergence import Curve
from apl_bench.report.drawing import GREY, MARKERS, MAX_TICKS, TITLE_LETTERS, plain, save

LIGHTEST = 0.85  # of the colour map: its yellow end is hard to see on white
TRAINING: Literal["solid"] = "solid"
HELD_OUT = (0, (4, 2))


def draw_convergence(curves: Sequence[Curve], title: str, path: Path) -> None:
    """Loss and win rate against epochs, side by side, a line for each number of labels.

    Bands are one standard error on each side: of losses over seeds, of win rates two-way.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    losses, rates = figure.subplots(1, 2)
    rates.axhline(0.5, color=GREY, linewidth=0.8, zorder=0)
    for curve, style in zip(curves, _styles(len(curves)), strict=True):
        epochs = [point.epoch for point in curve.points]
        _loss_lines(losses, epochs, curve, style)
        win_rates = [point.win_rate for point in curve.points]
        errors = [each.se_two_way for each in win_rates]
        _line(rates, epochs, ([each.mean for each in win_rates], errors), {**style, "label": str(curve.num_labels)})
    rates.legend(title="labels", frameon=False, fontsize=9, title_fontsize=9)
    _name_line_styles(losses, curves)
    for axes, name in ((losses, "DPO loss (nats)"), (rates, "win rate (band: one SE)")):
        _finish(axes, name, [point.epoch for point in curves[0].points])
    figure.suptitle(textwrap.fill(plain(title), TITLE_LETTERS), fontsize=10, x=0.01, ha="left")
    save(figure, path)


def _styles(num: int) -> list[dict[str, Any]]:
    """Numbers of labels are ordered, and so are the colours of this map, which Okabe and Ito's are not."""
    colours = colormaps["viridis"](np.linspace(0, LIGHTEST, num))
    return [{"color": colour, "marker": MARKERS[i % len(MARKERS)]} for i, colour in enumerate(colours)]


def _loss_lines(axes: Axes, epochs: Sequence[int], curve: Curve, style: Mapping[str, Any]) -> None:
    """Of training, and of held-out pairs where they are there at every point."""
    of_training = [point.loss for point in curve.points]
    held_out = [point.held_out_loss for point in curve.points if point.held_out_loss]
    for estimates, line in ((of_training, TRAINING), (held_out, HELD_OUT)):
        if len(estimates) == len(epochs):
            heights = [each.mean for each in estimates], [each.se_seeds for each in estimates]
            _line(axes, epochs, heights, {**style, "linestyle": line})


def _line(
    axes: Axes, epochs: Sequence[int], heights: tuple[Sequence[float], Sequence[float]], style: Mapping[str, Any]
) -> None:
    """Means as a line and their errors as a band; one seed has no error of its loss, and no band."""
    means, errors = np.array(heights[0]), np.nan_to_num(heights[1])
    if errors.any():
        axes.fill_between(epochs, means - errors, means + errors, color=style["color"], alpha=0.13, linewidth=0)
    axes.plot(epochs, means, linewidth=1.6, markersize=5, **style)


def _name_line_styles(axes: Axes, curves: Sequence[Curve]) -> None:
    handles = [Line2D([], [], color=GREY, linestyle=TRAINING, linewidth=1.6, label="training")]
    if any(point.held_out_loss for curve in curves for point in curve.points):
        handles.append(Line2D([], [], color=GREY, linestyle=HELD_OUT, linewidth=1.6, label="held out"))
    axes.legend(handles=handles, frameon=False, fontsize=9)


def _finish(axes: Axes, name: str, epochs: Sequence[int]) -> None:
    axes.set(xlabel="epochs", ylabel=name)
    if len(epochs) <= MAX_TICKS:
        axes.set_xticks(epochs)
    axes.spines[["top", "right"]].set_visible(False)
