"""What is told of judges: their measures line by line, for a table, a file or a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from apl_bench.asking.prices import Price
from apl_bench.health.measures import Agreement, Found, Health, Missing, agreement, health
from apl_bench.health.opinions import Cost, Subject, WinRates, cost
from apl_bench.types import Verdict
from apl_bench.wording import number


@dataclass(frozen=True)
class Report:
    """What is told: judges with their opinions, what is right for each pair of a file (`labels`, may be empty), and win
    rates under other judges, each with the name of the other. `price` stands in for the price table."""

    subjects: Sequence[Subject]
    labels: Sequence[Verdict | None]
    rates: Sequence[tuple[str, WinRates]]
    price: Price | None

    @cached_property
    def healths(self) -> list[Health]:
        """One for each subject, in their order."""
        return [health(subject.opinions, subject.order != "fixed", self.labels) for subject in self.subjects]

    @cached_property
    def costs(self) -> list[Cost]:
        """One for each subject, in their order."""
        return [cost(subject, self.price) for subject in self.subjects]

    @cached_property
    def agreements(self) -> list[tuple[int, int, Agreement | Missing]]:
        """Of every two subjects, by their places."""
        places = combinations(range(len(self.subjects)), 2)
        return [(one, other, agreement(self.subjects[one].opinions, self.subjects[other].opinions))
                for one, other in places]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A measure: its name for programs and for people, what was found, and what to know about it."""

    name: str
    text: str
    found: Found
    note: str = ""


def lines(report: Report, place: int) -> Iterator[Line]:
    """All measures of the subject at this place."""
    found = report.healths[place]
    yield Line("self_consistency", "same verdict when asked again", found.repeats)
    yield from _position_lines(found)
    yield Line("ties", "ties", found.ties)
    unsound = "" if report.subjects[place].sound else "UNSOUND: above 1 % in a step, a waypoint or the file"
    yield Line("invalid", "invalid", found.invalid, unsound)
    yield from _length_lines(found)
    phrases = ", ".join(f"{name} {num}" for name, num in found.phrases.counts.items())
    yield Line("phrases", "texts that address the judge", found.phrases.texts, phrases)
    yield Line("phrases_won", "such a text wins", found.phrases.won)
    yield from _calibration_lines(found)
    if report.labels:
        yield Line("accuracy", "as labelled", found.accuracy, "an invalid verdict is wrong")
        yield Line("accuracy_decided", "as labelled, without ties", found.accuracy_decided)


def _position_lines(found: Health) -> Iterator[Line]:
    place = found.position
    chance = "" if place.first_p is None else f"{_p(place.first_p)} against 1/2, which the random order makes"
    yield Line("first_position", "text shown first wins", place.first, chance)
    num = place.num_firsts + place.num_seconds
    flips = f"{place.num_firsts} flips to the first place, {place.num_seconds} to the second"
    chance = "" if place.flips_p is None else f"; {_p(place.flips_p)}"
    yield Line("swap_consistency", "same verdict when swapped", place.same, flips + chance if num else "")


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p = {number(value)}"


def _length_lines(found: Health) -> Iterator[Line]:
    if isinstance(found.length, Missing):
        yield Line("longer", "longer text wins", found.length)
        return
    yield Line("longer", "longer text wins", found.length.longer, "in characters; texts of equal length left out")
    for each in found.length.bins:
        up_to = f" to {each.up_to:g}" if math.isfinite(each.up_to) else ""
        name = f"longer_{each.above:g}_{each.up_to:g}"
        yield Line(
            name,
            f"longer by {each.above:g}{up_to} times" if up_to else f"longer by more than {each.above:g} times",
            each.longer,
        )
    odds = found.length.odds or Missing(found.length.why)
    yield Line(
        "length_odds", "odds for a text twice as long", odds, "a factor; 1: no preference. Logistic, place apart"
    )


def _calibration_lines(found: Health) -> Iterator[Line]:
    told = found.calibration
    if isinstance(told, Missing):
        yield Line("p_first", "p_first against repeats", told)
        return
    note = f"mean confidence {number(told.confidence, 3)}; Brier score {number(told.brier, 3)}"
    yield Line("p_first", "p_first's side when asked again", told.confirmed, note)
