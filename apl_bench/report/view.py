"""The tables of a page, said in words and rounded numbers, so that the template holds no arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from apl_bench.annotation.agreement import Measure
from apl_bench.comparison import format_seeds
from apl_bench.health.telling import lines
from apl_bench.records import Run
from apl_bench.report.formats import DASH, Bar, bars, count, figure, share_bar
from apl_bench.report.reading import Findings
from apl_bench.report.results import Arm, Difference, Results
from apl_bench.report.spending import Spending


@dataclass(frozen=True)
class Result:
    """A strategy's line in the table of results."""

    arm: Arm
    rank: str
    seeds: str
    rate_bar: Bar | None
    difference: Difference | None
    difference_bar: Bar | None


def result_rows(results: Results) -> list[Result]:
    """One for each strategy, at the last waypoint."""
    rate_bars = bars([arm.last.rate for arm in results.arms], None)
    found = [arm.last.difference for arm in results.arms]
    difference_bars = bars([one.value if one else None for one in found], 0.0)
    rows = zip(results.arms, rate_bars, found, difference_bars, strict=True)
    return [Result(arm, _rank(arm), format_seeds(arm.seeds), rate, one, bar) for arm, rate, one, bar in rows]


def _rank(arm: Arm) -> str:
    if arm.rank is None:
        return DASH
    low, high = arm.rank
    return str(low) if low == high else f"{low}{DASH}{high}"


@dataclass(frozen=True)
class KlTable:
    """Differences from the baseline at each KL that some strategy shares with it, nats a completion; None where one
    does not reach it with all seeds."""

    kls: Sequence[float]
    rows: Sequence[tuple[str, Sequence[Difference | None]]]


def kl_table(results: Results) -> KlTable | None:
    """None where KL was not recorded, or nobody shares any."""
    kls = sorted({kl for arm in results.arms for kl in arm.at_kl})
    rows = [(arm.strategy, [arm.at_kl.get(kl) for kl in kls]) for arm in results.arms if arm.at_kl]
    return KlTable(kls, rows) if kls else None


@dataclass(frozen=True)
class JudgeLine:
    """A measure of a judge in words, with its interval on an axis from 0 to 1 where it is a share."""

    text: str
    value: str
    interval: str
    num: str
    note: str
    bar: Bar | None


@dataclass(frozen=True)
class Judge:
    """An oracle or a judge: what was measured, and what could not be and why."""

    title: str
    num_pairs: int
    num_asked: int
    num_answers: int
    usd: float | None
    measured: Sequence[JudgeLine]
    unknown: Sequence[str]


def judges(findings: Findings) -> Iterator[Judge]:
    """One for each oracle and judge, the judge first."""
    for place, subject in enumerate(findings.judges.subjects):
        every = list(lines(findings.judges, place))
        health, spent = findings.judges.healths[place], findings.answers[place]
        measured = [_judge_line(line.text, line.name, line.found, line.note) for line in every
                    if isinstance(line.found, Measure)]  # fmt: skip
        unknown = [f"{line.text}: {line.found.why}" for line in every if not isinstance(line.found, Measure)]
        yield Judge(subject.title, health.num_pairs, health.num_asked, spent.num, spent.usd, measured, unknown)


def _judge_line(text: str, name: str, found: Measure, note: str) -> JudgeLine:
    is_share = name != "length_odds"
    null = 0.5 if name in ("first_position", "longer") else None
    bar = share_bar(found.low, found.high, found.value, null) if is_share else None
    digits = 1 if is_share else 2
    value, low, high = ((100 * one if is_share else one) for one in (found.value, found.low, found.high))
    unit = " %" if is_share else ""
    between = f"[{low:.{digits}f}, {high:.{digits}f}]"
    return JudgeLine(text, f"{value:.{digits}f}{unit}", between, f"{found.num_items:,}", note, bar)


@dataclass(frozen=True)
class StageRow:
    """Where a strategy's time went: seconds a run by stage, in all, tokens a second and share of the measured peak."""

    strategy: str
    seconds: Sequence[str]
    total: str
    tokens_per_s: str
    peak: str


def stage_seconds(results: Results, findings: Findings) -> dict[str, dict[str, float]]:
    """Mean seconds a run by strategy and stage; strategies without events are left out."""
    found = {}
    for arm in results.arms:
        spending = findings.spending.get(arm.strategy, Spending())
        if spending.total.seconds:
            found[arm.strategy] = {name: stage.seconds / len(arm.seeds) for name, stage in spending.stages.items()}
    return found


def stage_rows(seconds: Mapping[str, Mapping[str, float]], findings: Findings) -> tuple[list[str], list[StageRow]]:
    """The stages' names, the longest first, and a row for each strategy."""
    names = sorted({name for by_stage in seconds.values() for name in by_stage},
                   key=lambda name: -sum(by_stage.get(name, 0.0) for by_stage in seconds.values()))  # fmt: skip
    rows = []
    for strategy, by_stage in seconds.items():
        total = findings.spending[strategy].total
        rate = total.num_tokens / total.counted_s if total.num_tokens and total.counted_s else None
        peak = 100 * total.gflop / total.possible_gflop if total.gflop and total.possible_gflop else None
        cells = [figure(by_stage.get(name), 1) for name in names]
        peak_text = DASH if peak is None else f"{peak:.0f} %"
        rows.append(StageRow(strategy, cells, figure(sum(by_stage.values()), 1), count(rate), peak_text))
    return names, rows


def num_pairs_of(run: Run) -> int:
    """How many pairs a run recorded: labels bought and test comparisons."""
    evaluated = sum(sum(point[name] for name in ("wins", "losses", "ties", "invalid"))
                    for point in run.result["waypoints"])  # fmt: skip
    return int(evaluated + sum(step["num_pairs"] for step in run.result["steps"]))


def versions(runs: Sequence[Run]) -> list[str]:
    """What the runs were made with, each combination once."""
    found = dict.fromkeys(
        ", ".join(f"{name} {value}" for name, value in run.manifest.get("versions", {}).items()) for run in runs
    )
    return [text for text in found if text]
