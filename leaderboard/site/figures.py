"""Drawings inside the pages, as plain numbers for a template: intervals on one axis, and learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT, MARGIN = 152.0, 22.0, 3.0
CURVE_WIDTH, CURVE_HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 500.0, 290.0, 34.0, 126.0, 8.0, 26.0
LABEL_GAP = 13.0  # of two names at the ends of curves
NUM_COLOURS = 8
WIDE = 2.0  # standard errors, where a submission gives no interval


@dataclass(frozen=True)
class Axis:
    """From values to places along it."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """In the units of the drawing, to a tenth."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round values from low to high, at most six."""
        rough = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Interval:
    """A win rate with its interval, places along the axis."""

    low: float
    mid: float
    high: float


def interval_of(point: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Low, mean and high of a point of apl-comparison/1; None where there is no win rate."""
    rate, stated, se = point["win_rate"], point.get("interval"), point.get("se_two_way")
    if rate is None:
        return None
    if stated and None not in stated:
        return stated[0], rate, stated[1]
    wide = WIDE * se if se is not None else 0.0
    return rate - wide, rate, rate + wide


def axis_over(intervals: Sequence[tuple[float, float, float] | None]) -> Axis | None:
    """One axis for all intervals of a table, with round ends within 0 and 1; None where there is none."""
    known = [interval for interval in intervals if interval]
    if not known:
        return None
    low = math.floor(min(interval[0] for interval in known) * 20) / 20
    high = math.ceil(max(interval[2] for interval in known) * 20) / 20
    low, high = max(0.0, low), min(1.0, high)
    return Axis(low, high if high > low else low + 0.05, MARGIN, WIDTH - MARGIN)


def on(axis: Axis | None, interval: tuple[float, float, float] | None) -> Interval | None:
    """An interval's places on an axis."""
    return Interval(*(axis.at(value) for value in interval)) if axis and interval else None


@dataclass(frozen=True)
class Curve:
    """One strategy's: `line` and `band` are lists of points as SVG has them."""

    name: str
    colour: int
    line: str
    band: str
    end_x: float
    end_y: float
    name_y: float


@dataclass(frozen=True)
class Curves:
    """All strategies of a comparison against labels; ticks are (place, text)."""

    curves: tuple[Curve, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def curves_of(comparison: Mapping[str, Any]) -> Curves | None:
    """Win rates with their intervals against labels; None where no strategy has two points."""
    points = {row["strategy"]: [(point["num_labels"], interval_of(point)) for point in row["curve"]]
              for row in comparison["rows"]}  # fmt: skip
    known = {name: [(x, interval) for x, interval in found if interval] for name, found in points.items()}
    known = {name: found for name, found in known.items() if len(found) > 1}
    if not known:
        return None
    height = axis_over([interval for found in known.values() for _, interval in found])
    assert height is not None  # there are points
    y = Axis(height.low, height.high, CURVE_HEIGHT - BOTTOM, TOP)
    every_x = sorted({x for found in known.values() for x, _ in found})
    x = Axis(every_x[0], every_x[-1], LEFT, CURVE_WIDTH - RIGHT)
    shown = every_x if len(every_x) <= 9 else [round(tick) for tick in x.ticks()]
    return Curves(tuple(_curves(known, x, y)), tuple((x.at(tick), str(tick)) for tick in shown),
                  tuple((y.at(tick), f"{tick:.2f}") for tick in y.ticks()))  # fmt: skip


def _curves(known: Mapping[str, Sequence[tuple[float, tuple[float, float, float]]]], x: Axis, y: Axis) -> list[Curve]:
    """Best at the end first, their names moved apart."""
    drawn: list[Curve] = []
    place = -math.inf
    by_end = sorted(known.items(), key=lambda item: -item[1][-1][1][1])
    colours = {name: number % NUM_COLOURS for number, name in enumerate(known)}
    for name, found in by_end:
        end = y.at(found[-1][1][1])
        place = max(end, place + LABEL_GAP)
        upper = [f"{x.at(num)},{y.at(interval[2])}" for num, interval in found]
        lower = [f"{x.at(num)},{y.at(interval[0])}" for num, interval in reversed(found)]
        line = " ".join(f"{x.at(num)},{y.at(interval[1])}" for num, interval in found)
        drawn.append(Curve(name, colours[name], line, " ".join([*upper, *lower]), x.at(found[-1][0]), end, place))
    return drawn
