"""Numbers and names as a report's page has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apl_bench.annotation.showing import pieces
from apl_bench.report.results import Labels, Value

DASH = "\u2013"
MINUS = "\u2212"


def visible(text: object) -> str:
    """A name with every hidden character in it spelled out."""
    return "".join(f"[{piece.text}]" if piece.is_mark else piece.text for piece in pieces(str(text)))


def figure(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """A number as it stands in a table, with a real minus; a dash where there is none."""
    if value is None:
        return DASH
    return f"{value:{'+' if signed else ''}z.{digits}f}".replace("-", MINUS)


def interval(value: Value | None, digits: int = 3, signed: bool = False) -> str:
    """The interval in brackets; empty where there is none."""
    if value is None or value.low is None or value.high is None:
        return ""
    return f"[{figure(value.low, digits, signed)}, {figure(value.high, digits, signed)}]"


def dollars(value: float | None) -> str:
    """Dollars; a dash where a price is not known."""
    if value is None:
        return DASH
    return "$0" if value == 0 else f"${value:.2f}" if value >= 0.1 else f"${value:.4f}"


def count(value: float | None) -> str:
    """A count with its thousands apart, large ones in millions and more."""
    if value is None:
        return DASH
    for size, name in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M")):
        if value >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:,.0f}"


def saved(value: Labels | None) -> str:
    """Labels saved with their interval; <0 where the target was not reached within the budget."""
    if value is None:
        return DASH
    low, high = ("<0" if end is None else f"{end:.0f}" for end in (value.low, value.high))
    between = "" if (value.low, value.high) == (None, None) else f" ({low} to {high})"
    return ("<0" if value.num_labels is None else f"{value.num_labels:.0f}").replace("-", MINUS) + between


def p_value(value: float | None) -> str:
    """A p-value; tiny ones as a bound."""
    return DASH if value is None else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def percent(value: float | None) -> str:
    """A share as a whole number of percent; a dash where there is none."""
    return DASH if value is None else f"{value:.0%}".replace("%", " %")


@dataclass(frozen=True)
class Bar:
    """An interval on an axis from 0 to 100, and where the axis has its null, if it has one."""

    low: float
    high: float
    at: float
    null: float | None


def bars(values: Sequence[Value | None], null: float | None) -> list[Bar | None]:
    """Intervals on the axis that holds them all, and the null."""
    known = [(value, value.low, value.high) for value in values if value is not None]
    whole = [(value, low, high) for value, low, high in known if low is not None and high is not None]
    ends = [end for _, low, high in whole for end in (low, high)] + ([] if null is None else [null])
    if not whole:
        return [None] * len(values)
    low, high = min(ends), max(ends)
    size = (high - low) or 1.0

    def place(value: float) -> float:
        return round(2 + 96 * (value - low) / size, 2)

    return [
        None if value is None or value.low is None or value.high is None or value.mean is None
        else Bar(place(value.low), place(value.high), place(value.mean), None if null is None else place(null))
        for value in values
    ]  # fmt: skip


def share_bar(low: float, high: float, at: float, null: float | None) -> Bar:
    """A share's interval on the axis from 0 to 1."""
    ends = [round(2 + 96 * value, 2) for value in (low, high, at)]
    return Bar(ends[0], ends[1], ends[2], None if null is None else 2 + 96 * null)
