"""How far the annotators of a queue agree: with each other over shared items, with themselves over hidden checks."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import combinations
from statistics import median

from apl_bench.annotation.agreement import Measure, alpha_measure, kappa_measure, share_measure
from apl_bench.annotation.items import SWAPPED, Answer, State

SCHEMA = "apl-agreement/1"


@dataclass(frozen=True, slots=True)
class Annotator:
    """One person. `first` is the share of A among A and B; `repeats` the share of hidden repeats answered the same,
    `swaps` that of hidden swaps answered for the same text; `seconds` the median of an answer, None if unknown.
    """

    name: str
    verdicts: dict[str, int]
    first: Measure
    repeats: Measure
    swaps: Measure
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Two:
    """Cohen's kappa of two people over the items that both have labelled."""

    first: str
    second: str
    kappa: Measure
    same: Measure


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. A skip is no label, and a check is no item: neither counts in kappa and alpha."""

    annotators: tuple[Annotator, ...]
    pairs: tuple[Two, ...]
    alpha: Measure
    repeats: Measure
    swaps: Measure


def report(state: State) -> Report:
    """What a queue's answers say, as they stand."""
    names = state.annotators()
    checks = {name: (_same(state, name, "repeat"), _same(state, name, "swap")) for name in names}
    ratings = [_labels(state, name) for name in names]
    pairs = [_two(names[i], names[j], ratings[i], ratings[j]) for i, j in combinations(range(len(names)), 2)]
    pooled = [[same for name in names for same in checks[name][kind]] for kind in (0, 1)]
    return Report(
        tuple(_annotator(name, state.by(name), *checks[name]) for name in names),
        tuple(pairs),
        alpha_measure(ratings),
        _share(pooled[0]),
        _share(pooled[1]),
    )


def _labels(state: State, name: str) -> list[str | None]:
    """A person's verdict on each item that is no check, None where there is none or it was skipped."""
    answers = (state.of(item.id, name) for item in state.labels())
    return [answer.verdict if answer and answer.verdict != "S" else None for answer in answers]


def _same(state: State, name: str, kind: str) -> list[bool]:
    """For each check of a kind that a person answered as well as its original: whether it meant the same."""
    found = []
    for checks in state.checks.values():
        for check in checks:
            before, after = state.of(check.original, name), state.of(check.id, name)
            if check.kind == kind and before and after and "S" not in (before.verdict, after.verdict):
                meant = SWAPPED.get(after.verdict, after.verdict) if kind == "swap" else after.verdict
                found.append(before.verdict == meant)
    return found


def _share(same: Sequence[bool]) -> Measure:
    return share_measure(sum(same), len(same))


def _annotator(name: str, answers: Sequence[Answer], repeats: list[bool], swaps: list[bool]) -> Annotator:
    verdicts = Counter(answer.verdict for answer in answers)
    spans = [
        (datetime.fromisoformat(answer.submitted) - datetime.fromisoformat(answer.started)).total_seconds()
        for answer in answers
        if answer.started
    ]
    return Annotator(
        name,
        {verdict: verdicts[verdict] for verdict in "ABTS"},
        share_measure(verdicts["A"], verdicts["A"] + verdicts["B"]),
        _share(repeats),
        _share(swaps),
        round(median(spans), 3) if spans else None,
    )


def _two(first: str, second: str, ours: Sequence[str | None], theirs: Sequence[str | None]) -> Two:
    shared = [(one, other) for one, other in zip(ours, theirs, strict=True) if one is not None and other is not None]
    same = share_measure(sum(one == other for one, other in shared), len(shared))
    return Two(first, second, kappa_measure([one for one, _ in shared], [other for _, other in shared]), same)


def to_json(found: Report) -> str:
    """JSON of the report; null for what has no value."""
    return json.dumps({"schema": SCHEMA, **_without_nan(asdict(found))}, indent=1)


def _without_nan(value: object) -> dict[str, object]:
    def plain(part: object) -> object:
        if isinstance(part, dict):
            return {key: plain(item) for key, item in part.items()}
        if isinstance(part, (list, tuple)):
            return [plain(item) for item in part]
        return None if isinstance(part, float) and math.isnan(part) else part

    found = plain(value)
    assert isinstance(found, dict)
    return found


def rows(found: Report) -> Iterator[tuple[str, ...]]:
    """What is measured, of whom, its value, both ends of its interval, and the number of items."""
    yield "alpha (Krippendorff)", "all", *_cells(found.alpha)
    for two in found.pairs:
        who = f"{two.first}, {two.second}"
        yield "kappa (Cohen)", who, *_cells(two.kappa)
        yield "same label", who, *_cells(two.same)
    everyone = [("repeats alike", "all", found.repeats), ("swaps alike", "all", found.swaps)]
    single = [
        (what, one.name, measure)
        for one in found.annotators
        for what, measure in (("repeats alike", one.repeats), ("swaps alike", one.swaps), ("A of A and B", one.first))
    ]
    for what, who, measure in [*everyone, *single]:
        yield what, who, *_cells(measure)


def _cells(measure: Measure) -> tuple[str, ...]:
    ends = ["" if math.isnan(value) else f"{value:.3f}" for value in (measure.value, measure.low, measure.high)]
    return (*ends, str(measure.num_items))
