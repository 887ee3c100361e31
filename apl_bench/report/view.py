"""What the page shows, said in words and rounded numbers, so that the template holds no arithmetic."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from apl_bench.annotation.agreement import Measure
from apl_bench.annotation.showing import Piece, pieces
from apl_bench.comparison import format_seeds
from apl_bench.health.telling import lines
from apl_bench.records import Run
from apl_bench.report.pairs import LABEL, TEST, Shown, Stratum, cut, marked
from apl_bench.report.reading import Findings
from apl_bench.report.results import Arm, Difference, Results, Value
from apl_bench.report.spending import Spending
from apl_bench.types import JSON

NUM_WITHOUT_SCRIPT = 12
DASH = "\u2013"
MINUS = "\u2212"


def visible(text: object) -> str:
    """A name with every hidden character in it spelled out."""
    return "".join(f"[{piece.text}]" if piece.is_mark else piece.text for piece in pieces(str(text)))


def figure(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """A number as it stands in a table, with a real minus; a dash where there is none."""
    if value is None:
        return DASH
    return f"{value:{'+' if signed else ''}z.{digits}f}".replace("-", MINUS)


def interval(value: Value | None, digits: int = 3, signed: bool = False) -> str:
    """The interval in brackets; empty where there is none."""
    if value is None or value.low is None or value.high is None:
        return ""
    return f"[{figure(value.low, digits, signed)}, {figure(value.high, digits, signed)}]"


def dollars(value: float | None) -> str:
    """Dollars; a dash where a price is not known."""
    if value is None:
        return DASH
    return "$0" if value == 0 else f"${value:.2f}" if value >= 0.1 else f"${value:.4f}"


def count(value: float | None) -> str:
    """A count with its thousands apart, large ones in millions and more."""
    if value is None:
        return DASH
    for size, name in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M")):
        if value >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:,.0f}"


def p_value(value: float | None) -> str:
    """A p-value; tiny ones as a bound."""
    return DASH if value is None else "<0.0001" if value < 0.0001 else f"{value:.4f}"


@dataclass(frozen=True)
class Bar:
    """An interval on an axis from 0 to 100, and where the axis has its null, if it has one."""

    low: float
    high: float
    at: float
    null: float | None


def bars(values: Sequence[Value | None], null: float | None) -> list[Bar | None]:
    """Intervals on the axis that holds them all, and the null."""
    known = [(value, value.low, value.high) for value in values if value is not None]
    whole = [(value, low, high) for value, low, high in known if low is not None and high is not None]
    ends = [end for _, low, high in whole for end in (low, high)] + ([] if null is None else [null])
    if not whole:
        return [None] * len(values)
    low, high = min(ends), max(ends)
    size = (high - low) or 1.0

    def place(value: float) -> float:
        return round(2 + 96 * (value - low) / size, 2)

    return [
        None if value is None or value.low is None or value.high is None or value.mean is None
        else Bar(place(value.low), place(value.high), place(value.mean), None if null is None else place(null))
        for value in values
    ]  # fmt: skip


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
    places = [2 + 96 * value for value in (found.low, found.high, found.value)]
    bar = Bar(*places, None if null is None else 2 + 96 * null) if is_share else None
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


WORDS = {
    LABEL: {"first": "A preferred", "second": "B preferred", "tie": "Tie", "invalid": "Could not be read"},
    TEST: {"first": "A preferred: the policy wins", "second": "B preferred: the policy loses", "tie": "Tie",
             "invalid": "Could not be read"},
}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """A pair for the page without scripts."""

    pair: Shown

    @property
    def where(self) -> str:
        return where(self.pair.stratum)

    @property
    def words(self) -> str:
        return WORDS[self.pair.stratum.part][self.pair.verdict]

    @property
    def remarks(self) -> str:
        return remarks(self.pair)

    @property
    def prompt(self) -> Sequence[Piece]:
        return cut(self.pair.prompt)

    @property
    def first(self) -> Sequence[Piece]:
        return cut(self.pair.first)

    @property
    def second(self) -> Sequence[Piece]:
        return cut(self.pair.second)

    @property
    def replies(self) -> Sequence[Sequence[Piece]]:
        return [cut(reply) for reply in self.pair.replies]


def cards(pairs: Sequence[Shown]) -> list[Card]:
    """A readable selection: of each strategy the first pair of its last step and of its last waypoint, and no more than
    a few in all."""
    latest: dict[tuple[str, str], Shown] = {}
    for pair in pairs:
        name = (pair.stratum.strategy, pair.stratum.part)
        if name not in latest or pair.stratum.at > latest[name].stratum.at:
            latest[name] = pair
    found = sorted(latest.values(), key=lambda pair: (pair.stratum.part, pair.stratum.strategy))
    return [Card(pair) for pair in found[:NUM_WITHOUT_SCRIPT]]


def where(stratum: Stratum) -> str:
    """Where a pair comes from, in words."""
    return f"label bought in step {stratum.at}" if stratum.part == LABEL else f"test comparison at {stratum.at} labels"


def remarks(pair: Shown) -> str:
    """What is known of a verdict beside itself."""
    if not pair.replies:
        return "Both texts are the same, and nobody was asked."
    said = [f"Shown in the order {'B, A' if pair.swapped else 'A, B'}"]
    if pair.p_first is not None:
        said.append(f"probability of A by who was asked: {100 * pair.p_first:.1f} %")
    if pair.p_policy is not None:
        said.append(f"by the policy's implicit preference, before: {100 * pair.p_policy:.1f} %")
    return "; ".join(said) + "."


def pairs_data(pairs: Sequence[Shown]) -> str:
    """The pairs for the page's script: JSON in which no `<`, `>` or `&` stands, so that it can't end its element."""
    strategies = sorted({pair.stratum.strategy for pair in pairs})
    places = sorted({(pair.stratum.part, pair.stratum.at) for pair in pairs})
    content = {
        "strategies": [visible(name) for name in strategies],
        "places": [{"part": part, "name": where(Stratum("", part, at))} for part, at in places],
        "words": WORDS,
        "pairs": [pair_json(pair, strategies, places) for pair in pairs],
    }
    return _within_script(content)


def pair_json(pair: Shown, strategies: Sequence[str], places: Sequence[tuple[str, int]]) -> dict[str, JSON]:
    """A pair for the page's script; the strategy and the step or waypoint by their places in these."""
    return {
        "strategy": strategies.index(pair.stratum.strategy),
        "place": places.index((pair.stratum.part, pair.stratum.at)),
        "seed": pair.seed,
        "prompt": marked(pair.prompt),
        "first": marked(pair.first),
        "second": marked(pair.second),
        "verdict": pair.verdict,
        "remarks": remarks(pair),
        "replies": [marked(reply) for reply in pair.replies],
    }


def within(pairs: Sequence[Shown], max_bytes: int | None) -> list[Shown]:
    """As many of these as take up so many bytes of a page at most, in their order; all where no limit is given."""
    kept: list[Shown] = []
    num_bytes = 0
    for pair in pairs:
        num_bytes += len(
            _within_script(pair_json(pair, [pair.stratum.strategy], [(pair.stratum.part, pair.stratum.at)]))
        )
        if max_bytes is not None and num_bytes > max_bytes:
            break
        kept.append(pair)
    return kept


def _within_script(content: object) -> str:
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def percent(value: float | None) -> str:
    """A share as a whole number of percent; a dash where there is none."""
    return DASH if value is None else f"{value:.0%}".replace("%", " %")


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
