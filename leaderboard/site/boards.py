"""Which rows stand in one table, which of them are ranked against each other, and why the others are not.

One board for each task, preset and regime. Rows are ranked against each other only within a group: the same division,
settings, data and weights, test prompts and seeds, so that every two of them can be paired by seed and by prompt. Rows
of other groups stand in the same table, side by side, without a word about which is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from apl_bench.comparison import format_seeds
from apl_bench.leaderboard.site.controls import Control
from apl_bench.leaderboard.site.entries import Entry
from apl_bench.leaderboard.site.outcomes import Outcomes, array_of
from apl_bench.statistics import Estimate, estimate
from apl_bench.statistics.ranks import rank_intervals
from apl_bench.tally import MAX_INVALID_SHARE
from apl_bench.types import SpecError
from apl_bench.wording import safe

TOLERANCE = 1e-9
MAX_CHANGES = 300  # letters of a heading


class GroupKey(NamedTuple):
    """What two rows share that can be paired."""

    division: str
    settings_sha256: str
    materials_sha256: str
    prompts_sha256: str
    seeds: tuple[int, ...]
    num_labels: int


@dataclass(frozen=True)
class Row:
    """A strategy of a submission, at its full budget. `rank` is an interval, None where `unranked_because` says why.

    `same_as` is the id of an earlier submission with the very same outcomes: a reproduction, which shares its rank and
    counts for nothing in it.
    """

    entry: Entry
    comparison: Mapping[str, Any]
    found: Mapping[str, Any]
    outcomes: Outcomes
    rank: tuple[int, int] | None = None
    tied_with: tuple[str, ...] = ()
    unranked_because: str = ""
    same_as: str = ""

    @property
    def strategy(self) -> str:
        return str(self.found["strategy"])

    @property
    def label(self) -> str:
        """What tells it from all other rows."""
        return f"{self.strategy} ({self.entry.id})"

    @property
    def point(self) -> Mapping[str, Any]:
        """At the full budget."""
        point: Mapping[str, Any] = self.found["curve"][-1]
        return point

    @property
    def is_baseline(self) -> bool:
        return self.strategy == str(self.comparison["baseline"])

    @property
    def lines(self) -> tuple[str, ...]:
        """Its outcomes, a line of letters for each seed."""
        settled = self.outcomes.of(self.strategy)
        if settled is None or set(settled.seeds) != set(self.found["seeds"]):
            raise SpecError(
                f"{self.entry.id}: the recorded outcomes lack seeds of {self.strategy} in {self.comparison['name']}; "
                f"run: apl-bench leaderboard record {self.entry.id}"
            )
        return tuple(settled.by_seed[seed] for seed in self.found["seeds"])

    @property
    def key(self) -> GroupKey:
        known = self.outcomes
        checksums = (known.settings_sha256, known.materials_sha256, known.prompts_sha256)
        return GroupKey(self.entry.submission.division, *checksums, tuple(self.found["seeds"]), known.num_labels)


@dataclass(frozen=True)
class ControlRow:
    """A control with its win rate; `win_rate` is None where there is none, and `control.how` says why."""

    control: Control
    win_rate: Estimate | None


@dataclass(frozen=True)
class Group:
    """Rows that are ranked against each other, best first, then those that are not; `facts` say what they share."""

    key: GroupKey
    facts: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def num_ranked(self) -> int:
        """Rows that count: reproductions do not."""
        return sum(row.rank is not None and not row.same_as for row in self.rows)


@dataclass(frozen=True)
class Board:
    """One table. `controls` are those of `controls_of`, the oldest submission here that has them."""

    name: str
    task: str
    preset: str
    regime: str
    groups: tuple[Group, ...]
    ended: tuple[Row, ...]
    controls: tuple[ControlRow, ...]
    controls_of: str

    @property
    def rows(self) -> list[Row]:
        return [row for group in self.groups for row in group.rows]

    @property
    def anchor(self) -> str:
        """Its name in an address."""
        letters = (character if character.isascii() and character.isalnum() else "-" for character in self.name)
        return "board-" + "".join(letters).lower()


def boards(entries: Sequence[Entry]) -> list[Board]:
    """A board for each task, preset and regime among the submissions: by task, first those of presets as they ship.

    Raises SpecError where recorded outcomes do not give the win rate that the submission states.
    """
    by_board: dict[tuple[str, str, str], list[Row]] = {}
    for entry in sorted(entries, key=lambda entry: (datetime.fromisoformat(entry.submission.created), entry.id)):
        for comparison in entry.comparisons:
            place = (comparison["task"], comparison["preset"], comparison["regime"])
            by_board.setdefault(place, []).extend(_rows(entry, comparison))
    found = [_board(*place, rows) for place, rows in sorted(by_board.items())]
    return sorted(found, key=lambda board: (board.task, all(group.key.division == "open" for group in board.groups)))


def _rows(entry: Entry, comparison: Mapping[str, Any]) -> Iterator[Row]:
    outcomes = entry.outcomes(comparison["name"])
    for found in comparison["rows"]:
        row = Row(entry, comparison, found, outcomes)
        _require_agreement(row)
        yield row


def _require_agreement(row: Row) -> None:
    stated, recorded = row.point["win_rate"], estimate(array_of(row.lines)).mean
    if math.isnan(recorded) if stated is None else abs(stated - recorded) <= TOLERANCE:
        return
    raise SpecError(f"{row.entry.id}: the win rate of {row.strategy} is {stated} in results.json and {recorded} by the "
                    f"recorded outcomes; run: apl-bench leaderboard record {row.entry.id}")  # fmt: skip


def _board(task: str, preset: str, regime: str, rows: Sequence[Row]) -> Board:
    standing = [row for row in rows if not row.entry.ending]
    by_key: dict[GroupKey, list[Row]] = {}
    for row in standing:
        by_key.setdefault(row.key, []).append(row)
    keys = sorted(by_key, key=lambda key: (key.division, -len(by_key[key]), key))
    groups = tuple(_group(key, by_key[key]) for key in keys)
    owner = next((row for row in standing if row.entry.recorded.controls.get(row.comparison["name"])), None)
    found = owner.entry.recorded.controls[owner.comparison["name"]] if owner else ()
    ended = tuple(row for row in rows if row.entry.ending)
    name = f"{task} {preset}, {regime}"
    return Board(name, task, preset, regime, groups, ended, tuple(map(control_row, found)),
                 owner.entry.id if owner else "")  # fmt: skip


def control_row(control: Control) -> ControlRow:
    """With its win rate."""
    lines = list(control.by_seed.values())
    return ControlRow(control, estimate(array_of(lines)) if lines else None)


def _group(key: GroupKey, rows: Sequence[Row]) -> Group:
    return Group(key, tuple(_facts(key, rows)), tuple(_ranked(rows)))


def _facts(key: GroupKey, rows: Sequence[Row]) -> Iterator[str]:
    """What the rows share, for readers; `changes` are the submission's own words."""
    yield f"{key.num_labels} labels"
    yield f"seed{'s' if len(key.seeds) > 1 else ''} {format_seeds(key.seeds)}"
    yield f"{rows[0].outcomes.num_prompts} test prompts"
    changes = sorted({change for row in rows for change in row.entry.submission.changes})
    if changes:
        yield safe(", ".join(changes))[:MAX_CHANGES]


def _ranked(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows with their ranks, best first, each followed by its reproductions; then those that have no rank."""
    reasons = {row.label: _why_unranked(row) for row in rows}
    able = [row for row in rows if not reasons[row.label]]
    first_of: dict[tuple[str, ...], Row] = {}
    for row in able:
        first_of.setdefault((row.strategy, *row.lines), row)
    originals = sorted(first_of.values(), key=lambda row: (-row.point["win_rate"], row.label))
    for row, place in zip(originals, rank_intervals([array_of(row.lines) for row in originals]), strict=True):
        tied = tuple(originals[other].label for other in place.tied)
        standing = replace(row, rank=(place.best, place.worst), tied_with=tied)
        yield standing
        for again in able:
            if again is not row and (again.strategy, *again.lines) == (row.strategy, *row.lines):
                yield replace(again, rank=standing.rank, tied_with=tied, same_as=row.entry.id)
    for row in rows:
        if reasons[row.label]:
            yield replace(row, unranked_because=reasons[row.label])


def _why_unranked(row: Row) -> str:
    """Empty for a row that has a rank. A submission's own reason stands, but for other seeds than its random has: those
    are a group of their own here."""
    if row.point["win_rate"] is None:
        return "its win rate is missing: a seed has no verdict that could be read"
    share = row.point["share_invalid"]
    if share is not None and share > MAX_INVALID_SHARE:
        return f"{100 * share:.1f} % of its verdicts are invalid, which is over {100 * MAX_INVALID_SHARE:.0f} %"
    ranked_on = {tuple(other["seeds"]) for other in row.comparison["rows"] if other["ranked"]}
    own_reason = row.found["unranked_because"] or ""
    return own_reason if tuple(row.found["seeds"]) in ranked_on else ""
