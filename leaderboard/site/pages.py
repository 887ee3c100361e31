"""The pages as HTML: the index with its tables, and one page for each submission."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any

from apl_bench.leaderboard.site.boards import Board, ControlRow, Group, Row, control_row
from apl_bench.leaderboard.site.card import card_html
from apl_bench.leaderboard.site.columns import COLUMNS, FAMILIES, RANK_TIP, rank_text
from apl_bench.leaderboard.site.entries import Entry
from apl_bench.leaderboard.site.figures import (
    Axis,
    Curves,
    Interval,
    axis_over,
    curves_of,
    interval_of,
    on,
)
from apl_bench.leaderboard.site.history import EVENTS, Event
from apl_bench.statistics import ALPHA
from apl_bench.statistics.ranks import MIN_SEEDS
from apl_bench.wording import number, quantity, safe

if TYPE_CHECKING:
    import jinja2

FIXED_COLUMNS = 5  # rank, strategy, the drawing, badges, since
MAX_TIES = 8  # named in one list; leaderboard.json has all
MAX_LETTERS = 160  # of a name in a table; its own page has the whole
_CHECKSUM = re.compile(r"[0-9a-f]{40,64}")
NUM_EVENTS = 60  # of the history, newest first; leaderboard.json has all


@dataclass(frozen=True)
class Line:
    """A row as the index shows it."""

    row: Row
    strategy: str
    name: str
    by: str
    place: Interval | None
    says: str


@dataclass(frozen=True)
class GroupView:
    """A group; `base` is the place of random's win rate on the axis."""

    division: str
    facts: Sequence[str]
    base: float | None
    lines: Sequence[Line]


@dataclass(frozen=True)
class BoardView:
    """A board with the axis that all its drawings share."""

    board: Board
    facts: str
    axis: Axis | None
    groups: Sequence[GroupView]
    ended: Sequence[Line]


@dataclass(frozen=True)
class EventLine:
    """An event as pages show it."""

    date: str
    id: str
    says: str
    why: str


@dataclass(frozen=True)
class Part:
    """One comparison on a submission's page."""

    name: str
    facts: str
    curves: Curves | None
    rows: Sequence[Row]
    controls: Sequence[ControlRow]
    notes: Sequence[str]


def index_html(boards: Sequence[Board], entries: Sequence[Entry]) -> str:
    """The first page, with every table."""
    events = sorted((event for entry in entries for event in entry.events), key=lambda event: event.date, reverse=True)
    return _render("index.html", script=True, boards=boards, views=[_view(board) for board in boards],
                   num_submissions=len(entries), events=[_event_line(event) for event in events[:NUM_EVENTS]],
                   divisions=sorted({entry.submission.division for entry in entries}), columns=COLUMNS,
                   families=FAMILIES, spans=_spans(), num_columns=len(COLUMNS) + FIXED_COLUMNS)  # fmt: skip


def _spans() -> list[tuple[str, int]]:
    """How many columns each family has; the drawing stands in the first one."""
    found = [(family, len(list(columns))) for family, columns in groupby(COLUMNS, key=lambda column: column.family)]
    return [(family, count + (family == "")) for family, count in found]


def _view(board: Board) -> BoardView:
    rates = [interval_of(row.point) for row in board.rows]
    axis = axis_over(rates)
    num_submissions = len({row.entry.id for row in board.rows})
    facts = (f"{quantity(num_submissions, 'submission')}, {quantity(len(board.rows), 'row')}. Rows are ranked only "
             "against those under the same heading.")  # fmt: skip
    return BoardView(board, facts, axis, [_group(group, axis) for group in board.groups],
                     [_line(row, None) for row in board.ended])  # fmt: skip


def _group(group: Group, axis: Axis | None) -> GroupView:
    baseline = next((row for row in group.rows if row.is_baseline and row.point["win_rate"] is not None), None)
    base = axis.at(baseline.point["win_rate"]) if axis and baseline else None
    facts = [*group.facts, _ranking(group.num_ranked, len(group.key.seeds))]
    return GroupView(group.key.division, facts, base, [_line(row, axis) for row in group.rows])


def _ranking(num: int, num_seeds: int) -> str:
    """How the rows of a group are ranked."""
    if num < 2:
        return "nothing here to rank it against"
    if num_seeds < MIN_SEEDS:
        return f"{num} rows; fewer than {MIN_SEEDS} seeds put none of them ahead"
    return f"{num} rows, each compared with every other"


def _line(row: Row, axis: Axis | None) -> Line:
    interval = interval_of(row.point)
    says = (
        f"win rate {number(interval[1], 3)}, from {number(interval[0], 3)} to {number(interval[2], 3)}"
        if interval
        else ""
    )
    stated = row.entry.submission
    return Line(row, cut(row.strategy), cut(stated.name), cut(stated.submitter.name), on(axis, interval), says)


def is_shown(row: Row) -> bool:
    """Whether its difference from random can be told from none, corrected for its family."""
    found = row.point.get("difference") or {}
    return found.get("p_holm") is not None and found["p_holm"] <= ALPHA


def cut(text: str) -> str:
    """A name that others wrote: harmless, and no longer than a table bears."""
    harmless = safe(text)
    return harmless if len(harmless) <= MAX_LETTERS else harmless[: MAX_LETTERS - 1] + "…"


def _event_line(event: Event) -> EventLine:
    says = EVENTS[event.event] + (f" ({cut(event.by)})" if event.by else "")
    return EventLine(event.date, event.id, says, safe(event.why))


def submission_html(entry: Entry, boards: Sequence[Board]) -> str:
    """The page of one submission."""
    rows = [row for board in boards for row in [*board.rows, *board.ended] if row.entry is entry]
    parts = [_part(entry, comparison, rows) for comparison in entry.comparisons]
    return _render("submission.html", script=False, entry=entry, parts=parts, columns=COLUMNS, made=_made(entry),
                   stated=entry.submission, events=[_event_line(event) for event in entry.events],
                   card=_markup(card_html(entry.submission.card)))  # fmt: skip


def _part(entry: Entry, comparison: Mapping[str, Any], rows: Sequence[Row]) -> Part:
    name = str(comparison["name"])
    mine = [row for row in rows if row.comparison is comparison]
    outcomes = entry.outcomes(name)
    facts = f"{outcomes.num_labels} labels, {outcomes.num_prompts} test prompts, regime {comparison['regime']}."
    controls = [control_row(control) for control in entry.recorded.controls.get(name, ())]
    return Part(name, safe(facts), curves_of(comparison), mine, controls, comparison["notes"])


def _made(entry: Entry) -> list[tuple[str, str]]:
    """What a reader wants to know of the machines, the code and the money, as names and texts."""
    stated = entry.submission
    strategies = [(f"strategy {entrant.name}", _flat(entrant)) for entrant in stated.strategies]
    machines = [("environment", _flat(environment)) for environment in stated.environments]
    tried = f"{stated.num_runs_tried}, of which {stated.costs.num_runs} are submitted"
    changes = ", ".join(stated.changes) or "none: the preset as it ships"
    return [("runs tried", tried), ("changes", changes), *strategies, ("harness", _flat(stated.harness)), *machines,
            ("costs", _flat(stated.costs))]  # fmt: skip


def _flat(stated: Any) -> str:
    """The fields of a dataclass that say something."""
    fields = {key: value for key, value in asdict(stated).items() if value not in (None, "", {}) and key != "name"}
    return ", ".join(f"{key.removeprefix('num_').replace('_', ' ')} {_short(value)}" for key, value in fields.items())


def _short(value: Any) -> str:
    """A checksum or a commit by its beginning, which submission.json has whole; large numbers in groups of three."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:,.2f}".removesuffix(".00")
    return f"{value[:12]}…" if isinstance(value, str) and _CHECKSUM.fullmatch(value) else str(value)


@cache
def _asset(name: str) -> str:
    return files("apl_bench.leaderboard.site").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    loader = jinja2.FunctionLoader(_asset)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined,
                                     trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    environment.globals.update(harmless=safe, digits=number, rank_text=rank_text, rank_tip=RANK_TIP,
                               short=lambda value: f"{value:.9g}", is_shown=is_shown, quantity=quantity, cut=cut,
                               max_ties=MAX_TIES)  # fmt: skip
    return environment


def _render(template: str, script: bool, **values: Any) -> str:
    """A page whose style and script stand in it, and are the only ones that it may apply and run."""
    style, code = _asset("page.css").strip(), _asset("page.js").strip()
    return _environment().get_template(template).render(
        style=_markup(style), style_hash=_hash(style), script=_markup(code), script_hash=_hash(code) if script else "",
        **values,
    )  # fmt: skip


def _markup(trusted: str) -> Any:
    """Text that is this project's own, or Markdown that was made into HTML without any."""
    import markupsafe

    return markupsafe.Markup(trusted)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
