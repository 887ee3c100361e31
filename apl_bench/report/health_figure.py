"""The figure of a report on judges: shares with their intervals (figure 1 of the paper among them), length, win rates.

matplotlib is an extra: only modules that draw import it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from apl_bench.annotation.agreement import Measure
from apl_bench.health.length import RATIOS
from apl_bench.health.measures import Agreement, Health, Missing
from apl_bench.health.telling import Report
from apl_bench.report.drawing import COLOURS, GREY, MARKERS, plain, save
from apl_bench.statistics import Estimate

MAX_JUDGES = len(COLOURS)
MAX_AGREEMENTS = 6
NAME_LETTERS, MAX_NAME_LINES = 52, 2
ROW, GAP = 0.18, 0.17  # heights of a judge's line and between measures, inches
NOT_KNOWN = "not known"
TOGETHER: dict[str, Any] = {"color": "#000000", "marker": "o"}


class Row(NamedTuple):
    """A measure of the first panel: a value for each judge, None where it is not known, or one of two judges together;
    `null`: what chance gives."""

    text: str
    values: tuple[Measure | None, ...]
    null: float | None = None
    of_two: bool = False


def draw_health(report: Report, path: Path) -> list[str]:
    """Draw the report to a PNG or SVG; returns what a reader has to know."""
    shown = range(min(len(report.subjects), MAX_JUDGES))
    rows = share_rows(report, [report.healths[place] for place in shown])
    panels = [_draw_shares]
    if any(not isinstance(report.healths[place].length, Missing) for place in shown):
        panels.append(_draw_lengths)
    if report.rates:
        panels.append(_draw_rates)
    height = max(3.2, 1.1 + sum(GAP + ROW * len(row.values) for row in rows) + 0.2 * len(shown))
    figure = Figure(figsize=(6.6 + 3.9 * (len(panels) - 1), height), layout="constrained")
    axes = figure.subplots(1, len(panels), width_ratios=[1.5, *[1.0] * (len(panels) - 1)], squeeze=False)[0]
    for draw, place in zip(panels, axes, strict=True):
        draw(place, report, rows)
        place.spines[["top", "right"]].set_visible(False)
    handles = [axes[0].plot([], [], linestyle="", **_style(place))[0] for place in shown]
    names = [f"{place + 1}  {_name(report.subjects[place].title)}" for place in shown]
    figure.legend(handles, names, loc="outside upper left", fontsize=8, frameon=False)
    save(figure, path)
    left_out = len(report.subjects) - len(shown)
    return [f"{path.name} shows {len(shown)} judges, {left_out} left out"] if left_out else []


def share_rows(report: Report, healths: Sequence[Health]) -> list[Row]:
    """The measures of the first panel that at least one judge has, and how far every two agree."""
    rows = [
        Row("same verdict when asked again", _known([found.repeats for found in healths])),
        Row("same verdict when swapped", _known([found.position.same for found in healths])),
        Row("text shown first wins", _known([found.position.first for found in healths]), 0.5),
        Row("longer text wins", _known([getattr(found.length, "longer", None) for found in healths]), 0.5),
        Row("p_first's side when asked again", _known([getattr(f.calibration, "confirmed", None) for f in healths])),
        Row("as labelled", _known([found.accuracy for found in healths])),
        Row("ties", _known([found.ties for found in healths])),
        Row("invalid", _known([found.invalid for found in healths])),
    ]
    agree = [
        Row(f"{one + 1} and {other + 1} agree", (found.same,), of_two=True)
        for one, other, found in report.agreements
        if isinstance(found, Agreement) and other < MAX_JUDGES
    ]
    return [row for row in (*rows, *agree[:MAX_AGREEMENTS]) if any(row.values)]


def _known(found: Sequence[object]) -> tuple[Measure | None, ...]:
    return tuple(each if isinstance(each, Measure) else None for each in found)


def _draw_shares(axes: Axes, report: Report, rows: Sequence[Row]) -> None:
    """A line for each judge and measure: the share, its interval, and in words the share and how many it is of."""
    del report
    height = 0.0
    ticks = []
    for row in rows:
        top = height
        for place, measure in enumerate(row.values):
            style = TOGETHER if row.of_two else _style(place)
            _draw_share(axes, measure, height, style)
            height += ROW
        if row.null is not None:
            axes.vlines(row.null, top - ROW / 2, height - ROW / 2, color=GREY, linewidth=0.9, linestyle=(0, (3, 2)))
        ticks.append(((top + height - ROW) / 2, row.text))
        height += GAP
    axes.set_yticks([tick for tick, _ in ticks], [text for _, text in ticks], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(height - GAP, -ROW)
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_title("shares, with intervals of 95 %", fontsize=10, loc="left")


def _draw_share(axes: Axes, measure: Measure | None, height: float, style: dict[str, Any]) -> None:
    words: dict[str, Any] = {"fontsize": 7, "va": "center", "color": GREY, "textcoords": axes.get_yaxis_transform()}
    if measure is None:
        axes.annotate(NOT_KNOWN, xy=(1, height), xytext=(1.03, height), annotation_clip=False, **words)
        return
    axes.plot([measure.low, measure.high], [height, height], color=style["color"], linewidth=1.8, zorder=2)
    axes.plot([measure.value], [height], linestyle="", markersize=6, zorder=3, **style)
    text = f"{measure.value:.1%} of {measure.num_items}"
    axes.annotate(text, xy=(1, height), xytext=(1.03, height), annotation_clip=False, **words)


def _draw_lengths(axes: Axes, report: Report, rows: Sequence[Row]) -> None:
    """How often the longer text won, by how much longer it was; those of one bin side by side."""
    del rows
    healths = report.healths[:MAX_JUDGES]
    axes.axhline(0.5, color=GREY, linewidth=0.8, zorder=0)
    for place, found in enumerate(healths):
        for each in () if isinstance(found.length, Missing) else found.length.bins:
            x = RATIOS.index(each.above) + 0.13 * (place - (len(healths) - 1) / 2)
            style = _style(place)
            axes.plot([x, x], [each.longer.low, each.longer.high], color=style["color"], linewidth=1.6)
            axes.plot([x], [each.longer.value], linestyle="", markersize=5, **style)
    names = [f"to {up_to:g}" if math.isfinite(up_to) else f"over {RATIOS[-2]:g}" for up_to in RATIOS[1:]]
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(-0.02, 1.02))
    axes.set_xlabel("times as many characters", fontsize=9)
    axes.set_box_aspect(1.0)
    axes.set_anchor("N")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_title("how often the longer text wins", fontsize=10, loc="left")


def _draw_rates(axes: Axes, report: Report, rows: Sequence[Row]) -> None:
    """Each waypoint's win rate under the judge that decided it, and under another; bars of one standard error."""
    del rows
    places = {subject.name: place for place, subject in enumerate(report.subjects) if subject.part == "against"}
    found = [estimate for _, rate in report.rates for estimate in (rate.recorded, rate.other)]
    low = min((each.mean - _error(each) for each in found if math.isfinite(each.mean)), default=0.0)
    high = max((each.mean + _error(each) for each in found if math.isfinite(each.mean)), default=1.0)
    ends = (low - 0.02, high + 0.02)
    axes.plot(ends, ends, color=GREY, linewidth=0.8, zorder=0)
    for name, rate in report.rates:
        if places[name] < MAX_JUDGES:
            x, y = rate.recorded, rate.other
            bars: dict[str, Any] = {"elinewidth": 0.8, "linestyle": "", "markersize": 5, **_style(places[name])}
            axes.errorbar([x.mean], [y.mean], xerr=_error(x), yerr=_error(y), **bars)
    axes.set(xlim=ends, ylim=ends)
    axes.set_box_aspect(1.0)
    axes.set_anchor("N")
    axes.set_xlabel("win rate as recorded", fontsize=9)
    axes.set_ylabel("under the other judge", fontsize=9)
    axes.set_title("win rate of each waypoint", fontsize=10, loc="left")


def _error(estimate: Estimate) -> float:
    return estimate.se_two_way if math.isfinite(estimate.se_two_way) else 0.0


def _style(place: int) -> dict[str, Any]:
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def _name(title: str) -> str:
    """A title in at most two lines."""
    found = textwrap.wrap(plain(title), NAME_LETTERS * 2)
    return (
        found[0]
        if len(found) == 1
        else "\n   ".join([found[0], textwrap.shorten(" ".join(found[1:]), NAME_LETTERS * 2)])
    )
