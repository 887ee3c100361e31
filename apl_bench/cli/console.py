"""What commands print with: text that others wrote is made harmless, tables are plain lines."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence

import click

from apl_bench.wording import MISSING, number, safe, safe_lines

__all__ = ["MISSING", "heading", "is_plain", "number", "safe", "safe_lines", "table"]
_NUMBER = re.compile(r"[+-]?[\d.]+( ±[\d.]+)?")


def is_plain() -> bool:
    """True where colour and cursor movement do not belong: not a terminal, or NO_COLOR is set (no-color.org)."""
    return bool(os.environ.get("NO_COLOR")) or not sys.stdout.isatty()


def heading(text: str) -> str:
    """A line in bold on a terminal."""
    return safe(text) if is_plain() else click.style(safe(text), bold=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Aligned lines under a heading: numbers to the right, texts to the left, what is missing as a dash."""
    names = [safe(column) for column in columns]
    cells = [[safe(cell) or MISSING for cell in row] for row in rows]
    numeric = [all(_is_number(row[i]) for row in cells) for i in range(len(names))]
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    head = line(names)
    return "\n".join([head if is_plain() else click.style(head, bold=True), *map(line, cells)])


def _is_number(cell: str) -> bool:
    return cell == MISSING or _NUMBER.fullmatch(cell) is not None
