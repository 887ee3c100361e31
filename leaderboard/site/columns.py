"""The columns of a board: what each is called, what it says, and how it is read from a row. Pages, JSON, CSV and
Markdown are all made from this list, so that none can say something else than the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apl_bench.leaderboard.site.boards import Row
from apl_bench.wording import MISSING, number

Value = float | None
Cell = float | bool | None
FAMILIES = {
    "": "At the full budget",
    "d": "Minus random, paired",
    "m": "More of it",
    "b": "Beside",
    "c": "Costs, a seed",
}


@dataclass(frozen=True)
class Column:
    """`path` leads to the value in a row of apl-comparison/1, from its last point where it begins with "point";
    `error` to its standard error, shown beside it. `family` is one of FAMILIES. A number of labels has a text `beyond`,
    for what was not reached within the budget, and beside it the interval that stands at its path."""

    name: str
    title: str
    tip: str
    path: tuple[str, ...]
    family: str = ""
    digits: int = 3
    signed: bool = False
    error: tuple[str, ...] = ()
    scale: float = 1.0
    beyond: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of its fields in JSON and CSV."""
        more = ("low", "high", "censored") if self.beyond else ("se",) if self.error else ()
        return (self.name, *(f"{self.name}_{one}" for one in more))

    def cells(self, row: Row) -> tuple[Cell, ...]:
        """The fields' values, None where there is none: an end of an interval also where it is beyond the budget."""
        if self.beyond:
            return (self.value(row), *self._ends(row), self._labels(row).get("censored"))
        return (self.value(row), self.se(row)) if self.error else (self.value(row),)

    def value(self, row: Row) -> Value:
        """The number as results.json has it, None where there is none."""
        return _at(row, self.path)

    def se(self, row: Row) -> Value:
        """Its standard error, None where there is none."""
        return _at(row, self.error) if self.error else None

    def text(self, row: Row) -> str:
        """The number as people read it, without its error."""
        value = self.value(row)
        if value is None and self.beyond and self._labels(row).get("censored"):
            return self._beyond(row)
        return self._number(value)

    def beside(self, row: Row) -> str:
        """Its error or its interval as people read it, empty where there is none."""
        if not self.beyond:
            se = self.se(row)
            return "" if se is None else f"±{number(se, 3)}"
        ends = self._ends(row)
        if ends == (None, None):
            return ""
        low, high = (self._beyond(row) if end is None else self._number(end) for end in ends)
        return f"({low} to {high})"

    def _number(self, value: Value) -> str:
        return number(None if value is None else value * self.scale, self.digits, self.signed)

    def _labels(self, row: Row) -> Mapping[str, Any]:
        return row.found.get(self.path[0]) or {}

    def _ends(self, row: Row) -> tuple[Value, Value]:
        low, high = self._labels(row).get("interval") or (None, None)
        return low, high

    def _beyond(self, row: Row) -> str:
        return self.beyond.format(budget=row.outcomes.num_labels)


def _at(row: Row, path: Sequence[str]) -> Value:
    here: Any = row.point if path[0] == "point" else row.found
    for key in path[1:] if path[0] == "point" else path:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here if isinstance(here, (int, float)) and not isinstance(here, bool) else None


COLUMNS = (
    Column("win_rate", "win rate", "Mean over the seeds, with the two-way standard error (seeds and test prompts)",
           ("point", "win_rate"), error=("point", "se_two_way")),
    Column("difference", "difference", "Minus random of the same submission, paired by seed and test prompt, with its "
           "two-way standard error", ("point", "difference", "mean"), "d", signed=True,
           error=("point", "difference", "se_two_way")),
    Column("p_holm", "p Holm", "Exact sign flips of the seeds' differences, corrected for the submission's declared "
           "family; n seeds give none below 2 / 2^n", ("point", "difference", "p_holm"), "d", digits=4),
    Column("smallest_detectable_holm", "detectable", "The smallest difference from random that these seeds and prompts "
           "would show with probability .8, corrected for the family as p is: an absent difference below it is no "
           "evidence of equality", ("point", "difference", "smallest_detectable_holm"), "d"),
    Column("se_seeds", "SE seeds", "Over seeds alone, as the paper prints it: it leaves out the luck of the prompts",
           ("point", "se_seeds"), "m"),
    Column("length_controlled", "length-controlled", "Win rate as it would be at equal lengths, by logistic regression",
           ("point", "length_controlled", "win_rate"), "m", error=("point", "length_controlled", "se")),
    Column("area", "area", "Mean height of the learning curve", ("area", "mean"), "m", error=("area", "se_two_way")),
    Column("labels_to_target", "labels to target", "Labels until the target win rate, with the 95 % interval; > the "
           "budget where that does not reach", ("labels_to_target", "num_labels"), "m", digits=0, beyond=">{budget}"),
    Column("labels_saved", "labels saved", "Fewer labels than random spent on its own final win rate, with the 95 % "
           "interval; <0 where the budget does not reach", ("labels_saved", "num_labels"), "m", digits=0, signed=True,
           beyond="<0"),
    Column("share_invalid", "invalid", "Share of verdicts that could not be read: they count neither way",
           ("point", "share_invalid"), "m"),
    Column("kl", "KL", "From theta_0, nats a completion", ("point", "beside", "kl"), "b", digits=2),
    Column("mean_length", "length", "Tokens a completion", ("point", "beside", "mean_length"), "b", digits=1),
    Column("repetition", "repetition", "Share of word bigrams that repeat an earlier one",
           ("point", "beside", "repetition"), "b"),
    Column("num_labels", "labels", "Bought from the oracle", ("costs", "num_labels"), "c", digits=0),
    Column("num_judge_calls", "calls", "Questions to oracle and judge", ("costs", "num_judge_calls"), "c", digits=0),
    Column("generated_tokens", "sampled M", "Million tokens sampled", ("costs", "generated_tokens"), "c", digits=2,
           scale=1e-6),
    Column("trained_tokens", "trained M", "Million tokens trained on", ("costs", "trained_tokens"), "c", digits=2,
           scale=1e-6),
    Column("seconds", "minutes", "Of wall clock, on the submitter's own machine: not comparable between machines",
           ("costs", "seconds"), "c", digits=1, scale=1 / 60),
    Column("cost_usd", "USD", "Paid for oracle and judge", ("costs", "cost_usd"), "c", digits=2),
)  # fmt: skip
RANK_TIP = (
    "Where a row can stand among those that it is ranked against: 1-3 says that first to third place cannot be excluded"
)


def rank_text(row: Row) -> str:
    """Its interval, as 2 or 2-4; a dash where it has none."""
    if row.rank is None:
        return MISSING
    low, high = row.rank
    return str(low) if low == high else f"{low}\u2013{high}"


def identity_of(row: Row) -> dict[str, Any]:
    """What row it is, where it stands and why."""
    comparison = row.comparison
    return {
        "task": comparison["task"],
        "preset": comparison["preset"],
        "regime": comparison["regime"],
        "division": row.entry.submission.division,
        "submission": row.entry.id,
        "submitter": row.entry.submission.submitter.name,
        "strategy": row.strategy,
        "seeds": list(row.found["seeds"]),
        "num_prompts": row.outcomes.num_prompts,
        "status": row.entry.ending.event if row.entry.ending else "standing",
        "rank": list(row.rank) if row.rank else None,
        "unranked_because": row.unranked_because or None,
        "same_as": row.same_as or None,
        "badges": [badge.name for badge in row.entry.badges],
        "created": row.entry.submission.created,
    }


def numbers_of(row: Row) -> dict[str, Cell]:
    """Every column's fields by name, None where there is none."""
    return {name: cell for column in COLUMNS for name, cell in zip(column.names, column.cells(row), strict=True)}
