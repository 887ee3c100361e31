"""What judges said, from the record of a run or by asking them now: verdicts, and the single answers behind them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from apl_bench.asking.prices import Price, Usage, price_of
from apl_bench.expressions import describe
from apl_bench.health.measures import Answer, Opinion
from apl_bench.judging import Judged, Judging
from apl_bench.judgments.record import Record
from apl_bench.oracles.wrappers import BothOrders
from apl_bench.protocols import Wrapper
from apl_bench.records import Run, completion_of, label_pairs
from apl_bench.registry import WRAPPERS
from apl_bench.spec import PluginSpec
from apl_bench.statistics import Estimate, estimate
from apl_bench.summary import tally
from apl_bench.tally import Tally
from apl_bench.types import Comparison, Completion, Pair, Prompt, Reading, Reply, SpecError, Verdict
from apl_bench.wrapping import Wrapped, create_oracle

PARTS = ("oracle", "judge")
_PROBE = Comparison(Pair(Prompt("", ""), Completion("a", (), True), Completion("b", (), True)), swapped=False)


@dataclass(frozen=True)
class Subject:
    """A judge and what it said: `name` says who was asked in which words, `part` what for ("oracle", "judge", or
    "asked now"); `sound` is false where more than 1 % of a step's, a waypoint's or a file's verdicts are invalid.
    """

    part: str
    name: str
    order: str
    opinions: tuple[Opinion, ...]
    records: Mapping[str, Record]
    sound: bool

    @property
    def title(self) -> str:
        """As it stands above its table."""
        return f"{self.part}: {self.name}"

    def joined(self, other: Subject) -> Subject:
        """The same judge with what it said in another run."""
        records = {**self.records, **other.records}
        return replace(self, opinions=self.opinions + other.opinions, records=records, sound=self.sound and other.sound)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a judge's answers used: calls with a record, tokens, and dollars by list price, batches not taken off.

    `tokens` is None where no reply says how many, `cost_usd` where a price is unknown.
    """

    calls: int
    tokens: int | None
    cost_usd: float | None


def recorded(run: Run, part: str) -> Subject:
    """The oracle or the judge of a run, from its rows, and where a verdict took several answers from its records.

    Asks nobody. A run that goes on is read as far as it is. Raises SpecError for files and records that are missing.
    """
    plugin = run.spec.oracle if part == "oracle" else run.spec.judge
    files = _files(run, part)
    pairs, rows = [pair for found in files for pair in _pairs(part, found)], _judged_rows(part, files)
    if rows and "keys" not in rows[0]:
        raise SpecError(f"{run.path} was written before several judgments could stand behind a verdict; run it again")
    order, behind = run.spec.judging.order, _behind(run, rows)
    splitter = _splitter(plugin, order)
    opinions = [_opinion(pair, row, splitter, behind) for pair, row in zip(pairs, rows, strict=True)]
    sound = all(tally(found).sound for found in files)
    return Subject(part, f"{describe(plugin)}, order {order}", order, tuple(opinions), behind, sound)


def asked(judging: Judging, plugin: PluginSpec, pairs: Sequence[Pair], order: str) -> Subject:
    """What a judge says of these pairs, asked through `judging`, which wraps more around `plugin` where it is asked
    several times. The verdict on a pair is that of the first asking, as a run would have got it.

    Raises what `Judging.judge` raises.
    """
    judged = judging.judge(pairs)
    splitter = Splitter(judging.source, len(plugin.wrappers))
    opinions = [_first_answer(item, splitter) for item in judged]
    records = {record.key: record for item in judged for record in item.records}
    sound = Tally.of((opinion.verdict, opinion.swapped) for opinion in opinions).sound
    return Subject("asked", describe(plugin), order, tuple(opinions), records, sound)


def rejudged(judging: Judging, plugin: PluginSpec, by: Subject) -> Subject:
    """What another judge says of all pairs of a recorded one, each as a run with this judge would have got it."""
    judged = judging.judge([opinion.pair for opinion in by.opinions])
    several = _several(judging.source.wrappers)
    splitter = Splitter(judging.source, len(judging.source.wrappers) if several is None else several)
    opinions = [replace(_first_answer(item, splitter), verdict=item.verdict) for item in judged]
    records = {record.key: record for item in judged for record in item.records}
    sound = Tally.of((item.verdict, item.swapped) for item in judged).sound
    return Subject("against", f"{describe(plugin)}, order {by.order}", by.order, tuple(opinions), records, sound)


@dataclass(frozen=True, slots=True)
class WinRates:
    """A waypoint of a run under the judge that decided it and under another, and the second minus the first, paired by
    prompt; with standard errors over prompts."""

    run: str
    num_labels: int
    recorded: Estimate
    other: Estimate
    difference: Estimate


def win_rates(run: Run, before: Sequence[Opinion], after: Sequence[Opinion]) -> list[WinRates]:
    """Each waypoint under both judges; the opinions are those on all of the run's comparisons, in its order."""
    found, start = [], 0
    name = f"{run.spec.strategy.name}, seed {run.spec.seed}"
    for num_labels in run.spec.loop.waypoints:
        end = start + len(_judged_rows("judge", [run.waypoint_rows(num_labels) or []]))
        if end > start:
            ours, theirs = (_outcomes(opinions[start:end]) for opinions in (before, after))
            found.append(WinRates(name, num_labels, estimate(ours), estimate(theirs), estimate(theirs - ours)))
        start = end
    return found


def _outcomes(opinions: Sequence[Opinion]) -> np.ndarray:
    """1 for the policy, 0 against, 1/2 for a tie, NaN for what could not be read; shape (1, P)."""
    points = {Verdict.FIRST: 1.0, Verdict.SECOND: 0.0, Verdict.TIE: 0.5, Verdict.INVALID: math.nan}
    return np.array([[points[opinion.verdict] for opinion in opinions]])


def cost(subject: Subject, given: Price | None = None) -> Cost:
    """What the records behind a subject's verdicts used; `given` stands in for the price table."""
    tokens, cost_usd, is_priced = 0, 0.0, True
    for record in subject.records.values():
        used = Usage.of(record.reply.usage)
        price = given or price_of(record.request)
        tokens += used.total
        is_priced = is_priced and (price is not None or not used.total)
        cost_usd += price.cost_usd(used) if price else 0.0
    return Cost(len(subject.records), tokens or None, cost_usd if tokens and is_priced else None)


@dataclass(frozen=True)
class Splitter:
    """Takes apart what stands behind a verdict: the innermost `num_inner` wrappers belong to a single answer."""

    source: Wrapped
    num_inner: int

    def answers(self, comparison: Comparison, replies: Sequence[Reply]) -> Iterator[Answer]:
        """The single answers, in the order in which they were asked."""
        inner = Wrapped(self.source.oracle, self.source.wrappers[: self.num_inner])
        outer = Wrapped(self.source.oracle, self.source.wrappers[self.num_inner :])
        left = list(replies)
        for single in outer.leaves(comparison):
            num = len(inner.leaves(single))
            yield Answer(single.swapped, single.repeat, inner.read(single, left[:num]))
            left = left[num:]
        if left:
            raise SpecError(f"{len(left)} more judgments stand behind a verdict than its wrappers ask for")


def _splitter(plugin: PluginSpec, order: str) -> Splitter | None:
    """For the verdicts of a run; None where no verdict has more than one answer behind it. Loads no oracle then."""
    wrappers: list[Wrapper] = [WRAPPERS.create(wrapper.name, wrapper.params) for wrapper in plugin.wrappers]
    if order == "both":
        wrappers.append(BothOrders())
    several = _several(wrappers)
    return None if several is None else Splitter(Wrapped(create_oracle(plugin).oracle, tuple(wrappers)), several)


def _several(wrappers: Sequence[Wrapper]) -> int | None:
    """Place of the innermost wrapper that asks several questions, None where none does."""
    return next((place for place, wrapper in enumerate(wrappers) if len(wrapper.expand(_PROBE)) != 1), None)


def _opinion(pair: Pair, row: Mapping[str, Any], splitter: Splitter | None, behind: Mapping[str, Record]) -> Opinion:
    """A recorded verdict; its answers are read again from the raw replies where there were several."""
    verdict, swapped = Verdict(row["verdict"]), row["swapped"]
    if pair.identical:
        return Opinion(pair, swapped, verdict, ())
    if splitter is None:
        return Opinion(pair, swapped, verdict, (Answer(swapped, 0, Reading(verdict.unswap(swapped))),))
    replies = [behind[key].reply for key in row["keys"]]
    return Opinion(pair, swapped, verdict, tuple(splitter.answers(Comparison(pair, swapped), replies)))


def _first_answer(item: Judged, splitter: Splitter) -> Opinion:
    if item.pair.identical:
        return Opinion(item.pair, item.swapped, item.verdict, ())
    comparison = Comparison(item.pair, item.swapped)
    answers = tuple(splitter.answers(comparison, [record.reply for record in item.records]))
    return Opinion(item.pair, item.swapped, answers[0].meant, answers)


def _behind(run: Run, rows: Sequence[Mapping[str, Any]]) -> dict[str, Record]:
    """The records behind these rows, by key."""
    records = run.judgments()
    keys = list(dict.fromkeys(key for row in rows for key in row["keys"]))
    missing = [key for key in keys if key not in records]
    if missing:
        raise SpecError(f"{run.path}/judgments.jsonl lacks {len(missing)} judgments that the rows name, the first with "
                        f"key {missing[0]}; restore the file, or run it again")  # fmt: skip
    return {key: records[key] for key in keys}


def _files(run: Run, part: str) -> list[list[dict[str, Any]]]:
    """The rows of each step or waypoint: all of a complete run's, those that are there of one that goes on."""
    loop, found = run.spec.loop, []
    steps, waypoints = (range(1, loop.num_steps + 1), []) if part == "oracle" else ([], loop.waypoints)
    found += [run.all_step_rows(step) if run.complete else run.step_rows(step) for step in steps]
    found += [run.all_waypoint_rows(num) if run.complete else run.waypoint_rows(num) for num in waypoints]
    return [rows for rows in found if rows]


def _judged_rows(part: str, files: Sequence[Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    kind = "label" if part == "oracle" else "comparison"
    return [row for rows in files for row in rows if row["kind"] == kind]


def _pairs(part: str, rows: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """The pairs of a file in the order of its rows; at a waypoint the policy's completion stands first."""
    if part == "oracle":
        return label_pairs(rows)
    return [
        Pair(Prompt(row["prompt_id"], row["prompt"]), completion_of(row["policy"]), completion_of(row["opponent"]))
        for row in _judged_rows(part, [rows])
    ]
