"""What a run had taken when it came to each waypoint: model FLOPs, tokens, and dollars of labels and of judging."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

from apl_bench.asking.prices import Usage, price_of
from apl_bench.comparison.costs import counted
from apl_bench.judgments.record import Record
from apl_bench.records import Run


@dataclass(frozen=True, slots=True)
class Taken:
    """Sums until a waypoint, None where something was not recorded or has no known price.

    `flop` and `num_tokens` are of acquisition and training: what evaluation takes is no part of a method. What a sweep
    had computed already counts in full, and a step that was begun again after a kill once. Dollars are by list price;
    an answer that several rows share counts once.
    """

    flop: float | None
    num_tokens: float | None
    label_usd: float | None
    judge_usd: float | None

    @classmethod
    def mean(cls, seeds: Sequence[Taken]) -> Self:
        """The mean over seeds; None where any of them is."""
        return cls(*(_total(column, len(seeds)) for column in zip(*map(astuple, seeds), strict=True)))


def taken_by(run: Run, records: Mapping[str, Record]) -> list[Taken]:
    """One for each waypoint, in order."""
    loop = run.spec.loop
    flop, tokens = _work_by_step(run.events())
    dollars = _Dollars(records)
    label_usd = [dollars.of(run.all_step_rows(step)) for step in range(1, loop.num_steps + 1)]
    judge_usd = [dollars.of(run.all_waypoint_rows(num)) for num in loop.waypoints]
    found = []
    for place, num_labels in enumerate(loop.waypoints):
        steps = range(1, num_labels // loop.labels_per_step + 1)
        work = [_total([by_step.get(step) for step in steps]) for by_step in (flop, tokens)]
        usd = _total(label_usd[: len(steps)]), _total(judge_usd[: place + 1])
        found.append(Taken(work[0], work[1], *usd))
    return found


def _work_by_step(events: Iterable[Mapping[str, Any]]) -> tuple[dict[int, float | None], dict[int, float | None]]:
    """FLOPs and tokens of each step, by the newest events that tell of it."""
    newest = {(event["event"], event["step"]): event for event in events if event["event"] in ("acquired", "trained")}
    flop: dict[int, float | None] = {}
    tokens: dict[int, float | None] = {}
    for (_, step), event in newest.items():
        counts, gflop = (counted(event, name) for name in ("tokens", "gflop"))
        work = 1e9 * math.fsum(gflop.values()) if gflop.keys() == counts.keys() and "gflop" in event else None
        flop[step] = _total([flop.get(step, 0.0), work])
        tokens[step] = _total([tokens.get(step, 0.0), float(sum(counts.values())) if "tokens" in event else None])
    return flop, tokens


class _Dollars:
    """What rows cost by their judgments, each judgment once."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._records = records
        self._seen: set[str] = set()

    def of(self, rows: Iterable[Mapping[str, Any]]) -> float | None:
        """Dollars of what these rows asked and none before them; None where a price is unknown."""
        keys = {key for row in rows for key in row.get("keys", ())} - self._seen
        self._seen |= keys
        return _total([cost_of(self._records[key]) for key in sorted(keys) if key in self._records])


def cost_of(record: Record) -> float | None:
    """Dollars of an answer by list price: 0 where no tokens were counted, None where its price is unknown."""
    used = Usage.of(record.reply.usage)
    price = price_of(record.request) if used.total else None
    if used.total and price is None:
        return None
    return price.cost_usd(used) if price else 0.0


def _total(values: Iterable[float | None], num: int = 1) -> float | None:
    """The sum over `num`; None where a value is."""
    found = list(values)
    known = [value for value in found if value is not None]
    return math.fsum(known) / num if len(known) == len(found) else None
