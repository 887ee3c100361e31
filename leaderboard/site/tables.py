"""The boards as leaderboard.json, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from apl_bench.comparison import format_seeds
from apl_bench.leaderboard.site.boards import Board, ControlRow, Group, Row
from apl_bench.leaderboard.site.columns import COLUMNS, identity_of, numbers_of, rank_text
from apl_bench.leaderboard.site.entries import Entry
from apl_bench.statistics import Estimate
from apl_bench.wording import number, safe

SCHEMA = "apl-leaderboard/1"
_FORMULA = re.compile(r"^[=+\-@\t\r]")  # what a spreadsheet takes for a formula
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|<>~&$:@])")
SHOWN = ("win_rate", "difference", "p_holm", "smallest_detectable_holm", "length_controlled", "num_labels", "cost_usd")


def to_json(boards: Sequence[Board], entries: Sequence[Entry]) -> str:
    """Everything that the tables show, and the history; a number that is not there is null. One line a board."""
    tables = ",\n".join(_dump(_board(board)) for board in boards)
    history = ",\n".join(_dump(asdict(event)) for entry in entries for event in entry.events)
    return f'{{"schema":"{SCHEMA}","boards":[\n{tables}\n],"history":[\n{history}\n]}}\n'


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _board(board: Board) -> dict[str, Any]:
    groups = [_group(group) for group in board.groups]
    controls = [_control(row) for row in board.controls]
    return {
        "name": board.name,
        "task": board.task,
        "preset": board.preset,
        "regime": board.regime,
        "groups": groups,
        "ended": [_row(row) for row in board.ended],
        "controls": controls,
        "controls_of": board.controls_of or None,
    }


def title_of(group: Group) -> str:
    """What its rows share, in a line."""
    return f"{group.key.division} division, {', '.join(group.facts)}"


def _group(group: Group) -> dict[str, Any]:
    """`tied_with` are places in the list of rows: names would make the file grow with the square of the rows."""
    place = {row.label: number for number, row in enumerate(group.rows)}
    rows = [{**_row(row), "tied_with": sorted(place[label] for label in row.tied_with)} for row in group.rows]
    return {"title": title_of(group), "num_ranked": group.num_ranked, "rows": rows}


def _row(row: Row) -> dict[str, Any]:
    return {**identity_of(row), **numbers_of(row)}


def _control(row: ControlRow) -> dict[str, Any]:
    found = row.win_rate
    control = row.control
    return {"name": control.name, "num_labels": control.num_labels, "seeds": list(control.by_seed), "how": control.how,
            "win_rate": found.mean if found else None, "win_rate_se": found.se_two_way if found else None}  # fmt: skip


def to_csv(boards: Sequence[Board]) -> str:
    """A line for each row, those that no longer stand included; empty where there is no number, true or false.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    lines = [_csv_line(row) for board in boards for row in [*board.rows, *board.ended]]
    names = [*_texts_of_columns(), *_number_names()]
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def _texts_of_columns() -> list[str]:
    return ["task", "preset", "regime", "division", "submission", "submitter", "strategy", "seeds", "num_prompts",
            "status", "rank_low", "rank_high", "unranked_because", "same_as", "badges",
            "created"]  # fmt: skip


def _number_names() -> list[str]:
    return [name for column in COLUMNS for name in column.names]


def _csv_line(row: Row) -> dict[str, Any]:
    known = identity_of(row)
    low, high = known.pop("rank") or (None, None)
    known |= {"rank_low": low, "rank_high": high, "seeds": format_seeds(known["seeds"]),
              "badges": "; ".join(known["badges"])}  # fmt: skip
    texts = {key: plain_cell(value) if isinstance(value, str) else value for key, value in known.items()}
    numbers = {name: str(cell).lower() if isinstance(cell, bool) else cell for name, cell in numbers_of(row).items()}
    return {**texts, **numbers}


def plain_cell(text: str) -> str:
    """A text for a spreadsheet: harmless to a terminal, and never a formula."""
    harmless = safe(text)
    return f"'{harmless}" if _FORMULA.match(harmless) else harmless


def to_markdown(boards: Sequence[Board]) -> str:
    """The tables with their main columns."""
    return "\n".join(line for board in boards for line in _markdown(board))


def _markdown(board: Board) -> Iterator[str]:
    columns = [column for column in COLUMNS if column.name in SHOWN]
    head = ["rank", "strategy", "submission", *(column.title for column in columns)]
    yield f"## {escaped(board.name)}\n"
    for group in board.groups:
        yield f"{escaped(title_of(group))}:\n"
        yield _line(head)
        yield _line(["---:", "---", "---", *["---:"] * len(columns)])
        for row in group.rows:
            cells = [f"{column.text(row)} {column.beside(row)}".rstrip() for column in columns]
            yield _line([rank_text(row), escaped(row.strategy), escaped(row.entry.id), *cells])
        yield ""
    for control in board.controls:
        yield f"- control {escaped(control.control.name)}: {_rate(control.win_rate)}; {escaped(control.control.how)}"
    yield ""


def _rate(found: Estimate | None) -> str:
    return f"{number(found.mean, 3)} ±{number(found.se_two_way, 3)}" if found else "none"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escaped(text: str) -> str:
    """A text that Markdown shows as it is: no markup, no HTML, no address."""
    return _MARKUP.sub(r"\\\1", safe(text)).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")
