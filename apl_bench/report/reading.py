"""All that a report says of a comparison's runs beside the comparison itself, read one run at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from apl_bench.comparison import strategy_label
from apl_bench.health.opinions import PARTS, Subject, recorded
from apl_bench.health.telling import Report
from apl_bench.judgments.record import Record
from apl_bench.records import Run
from apl_bench.report.costs import Taken, cost_of, taken_by
from apl_bench.report.pairs import Shown, merged, shares, shown_of, strata_of
from apl_bench.report.spending import Spending


@dataclass(frozen=True)
class Answers:
    """What an oracle or a judge was asked in a comparison: answers with a record, and dollars, None where a price is
    not known. An answer that several runs share counts once."""

    num: int
    usd: float | None


@dataclass(frozen=True)
class Findings:
    """Of a comparison's runs, by strategy: where time went (sums over seeds), what each waypoint had taken (means);
    then the oracle and the judge with their answers, and the pairs to show, dealt out round by round."""

    spending: Mapping[str, Spending]
    taken: Mapping[str, Sequence[Taken]]
    judges: Report
    answers: Sequence[Answers]
    pairs: Sequence[Shown]


def read_findings(runs: Sequence[Run], num_pairs: int) -> Findings:
    """Read complete runs of one comparison. Raises SpecError for files and judgments that are missing."""
    named = [(strategy_label(run.spec), run) for run in runs]
    share = shares((stratum for name, run in named for stratum in strata_of(name, run)), num_pairs)
    gathered = _Gathered()
    found: list[Shown] = []
    for name, run in named:
        held = HeldRun(run.path)
        records = held.judgments()
        gathered.add(name, held, records)
        found += shown_of(held, name, share, records)
    subjects = list(gathered.subjects.values())
    taken = {name: zip(*seeds, strict=True) for name, seeds in gathered.taken.items()}
    return Findings(
        {name: Spending.of(events) for name, events in gathered.events.items()},
        {name: [Taken.mean(seeds) for seeds in waypoints] for name, waypoints in taken.items()},
        Report(subjects, (), (), None),
        [gathered.answers(subject.title) for subject in subjects],
        merged(found, share),
    )


@dataclass
class _Gathered:
    """Sums over runs so far. Opinions are kept, records are not: they are most of a run's size."""

    events: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    taken: dict[str, list[list[Taken]]] = field(default_factory=dict)
    subjects: dict[str, Subject] = field(default_factory=dict)
    prices: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def add(self, strategy: str, run: Run, records: Mapping[str, Record]) -> None:
        """Take in a run."""
        self.events.setdefault(strategy, []).extend(run.events())
        self.taken.setdefault(strategy, []).append(taken_by(run, records))
        for part in reversed(PARTS):  # the judge first
            whole = recorded(run, part)
            self.prices.setdefault(whole.title, {}).update({key: cost_of(one) for key, one in whole.records.items()})
            subject = replace(whole, records={})
            known = self.subjects.get(subject.title)
            self.subjects[subject.title] = known.joined(subject) if known else subject

    def answers(self, title: str) -> Answers:
        """Of the oracle or judge with this title."""
        prices = self.prices[title]
        known = [price for price in prices.values() if price is not None]
        return Answers(len(prices), sum(known) if len(known) == len(prices) else None)


@dataclass(frozen=True)
class HeldRun(Run):
    """A run whose rows and judgments are read from disk once, for as long as this object lives."""

    @cached_property
    def _held(self) -> dict[object, Any]:
        return {}

    def judgments(self) -> dict[str, Record]:
        """See Run.judgments."""
        if "judgments" not in self._held:
            self._held["judgments"] = super().judgments()
        found: dict[str, Record] = self._held["judgments"]
        return found

    def step_rows(self, step: int) -> list[dict[str, Any]] | None:
        """See Run.step_rows."""
        return self._rows(("step", step), super().step_rows)

    def waypoint_rows(self, num_labels: int) -> list[dict[str, Any]] | None:
        """See Run.waypoint_rows."""
        return self._rows(("waypoint", num_labels), super().waypoint_rows)

    def _rows(self, name: tuple[str, int], read: Any) -> list[dict[str, Any]] | None:
        if name not in self._held:
            self._held[name] = read(name[1])
        found: list[dict[str, Any]] | None = self._held[name]
        return found
