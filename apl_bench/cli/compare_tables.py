"""How a comparison reads on a terminal: one table that answers, the curves, and on request everything else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from apl_bench.cli.console import MISSING, heading, number, safe, table
from apl_bench.comparison import BASELINE, Comparison, Difference, Row, format_seeds
from apl_bench.statistics import Estimate, Family
from apl_bench.statistics.labels import Labels
from apl_bench.wording import quantity

MAIN = ("rank", "strategy", "win rate", "SE two-way", "SE seeds", f"minus {BASELINE}", "SE two-way", "p Holm",
        "detectable", "labels saved")  # fmt: skip
KEY = (
    "rank: the best and the worst place that the data allow; strategies whose ranks overlap may be tied (--details).",
    "SE two-way: over seeds and test prompts. SE seeds: over seeds alone, as the paper prints it.",
    "detectable: the smallest true difference that so many seeds would find in 4 of 5 experiments, after Holm.",
)
DETAILS_KEY = (
    "p: exact sign flips of the seeds' differences, two-sided, for these prompts; n seeds give none below 2 / 2^n.",
    "p two-way: t by the two-way error, for any prompts. Differences are paired by seed and by test prompt.",
    "worst, best: had every invalid verdict gone against it, or for it.",
    "length-controlled: the win rate at equal lengths, by a logistic regression; a check, not a better number.",
    "KL: nats a completion. length: tokens. repetition: share of bigrams. perplexity: of what people wrote.",
    "accuracy, Brier, ECE: of the implicit reward on the labels it had not seen, undecided ones left out; score:",
    "rank correlation of the strategy's scores with its errors. first: share of verdicts for the text shown first.",
    "Costs are means over the seeds; dollars by list price. docs/statistics.md explains every number.",
)
KL_KEY = "at a KL of: read between waypoints, where all seeds of both have been; sign flips' p, not corrected."
MORE = "More, with intervals, judge and costs: --details. Every number is explained in docs/statistics.md."


def to_text(comparison: Comparison) -> str:
    """The answer: ranks, win rates, differences from random with what they are worth, and the curves."""
    parts = [_heading(comparison), _main_table(comparison), _curves(comparison.rows)]
    lines = [*_family_lines(comparison.family), *_key_lines(comparison), MORE, *_note_lines(comparison)]
    return "\n\n".join([*parts, "\n".join(lines)])


def to_details(comparison: Comparison) -> str:
    """All of it."""
    rows = comparison.rows
    parts = [_heading(comparison), _main_table(comparison), _curves(rows), _rates(rows)]
    if any(row.last.difference for row in rows):
        parts.append(_differences(rows))
    if any(row.to_target for row in rows):
        parts.append(_labels_needed(comparison))
    has_kl = any(row.at_kl for row in rows)
    if has_kl:
        parts.append(_at_equal_kl(rows))
    parts += [_beside(rows), _learned(rows), _costs(rows)]
    lines = [*_family_lines(comparison.family), *_key_lines(comparison), *[KL_KEY] * has_kl, *DETAILS_KEY,
             *_note_lines(comparison)]  # fmt: skip
    return "\n\n".join([*parts, "\n".join(lines)])


def _heading(comparison: Comparison) -> str:
    seeds = {row.seeds for row in comparison.rows}
    of = f", seeds {format_seeds(next(iter(seeds)))}" if len(seeds) == 1 else ""
    num_labels = comparison.rows[0].last.num_labels
    return heading(f"{comparison.name}: {num_labels} labels, {comparison.num_prompts} test prompts{of}")


def _family_lines(family: Family | None) -> list[str]:
    if family is None:
        return []
    named = ", ".join(f"{safe(one.strategy)} at {one.num_labels}" for one in family.hypotheses)
    declared = "as declared" if family.declared else "the default: none was declared"
    hypotheses = quantity(len(family.hypotheses), "hypothesis", "hypotheses")
    return [f"p Holm: sign flips of the seeds' differences, corrected for {hypotheses} ({declared}):", f"  {named}."]


def _key_lines(comparison: Comparison) -> list[str]:
    rate = comparison.target
    if rate is None:
        return [*KEY, f"labels saved: fewer than {BASELINE} bought, for its last win rate (95 %); <0: not reached."]
    return [
        *KEY,
        f"labels saved: fewer than {BASELINE} needs for a win rate of {rate:g} (95 %). < or >: one of the two did not",
        "reach it; -: neither did; open: that end lies beyond what was bought.",
    ]


def _note_lines(comparison: Comparison) -> list[str]:
    return [f"note: {safe(note)}" for note in comparison.notes]


def _main_table(comparison: Comparison) -> str:
    return table(MAIN, [_main_cells(row, comparison.target) for row in comparison.rows])


def _main_cells(row: Row, target: float | None) -> list[str]:
    rate, found = row.last.win_rate, row.last.difference
    rates = [number(rate.mean), number(rate.se_two_way), number(rate.se_seeds)]
    return [rank_text(row), row.strategy, *rates, *_difference_cells(found), saved_text(row.saved, target)]


def _difference_cells(found: Difference | None) -> list[str]:
    if found is None:
        return [MISSING] * 4
    values = [number(found.estimate.mean, signed=True), number(found.estimate.se_two_way)]
    return [*values, number(found.p_holm), number(found.detectable_holm)]


def rank_text(row: Row) -> str:
    """1, or 2-4, or a dash."""
    if row.standing.rank is None:
        return MISSING
    best, worst = row.standing.rank
    return str(best) if best == worst else f"{best}-{worst}"


def saved_text(found: Labels | None, target: float | None) -> str:
    """112 (40 to 170), or <0 where random's last rate was not reached; for a stated target either end may be open, and
    >112 says that random did not reach it."""
    return MISSING if found is None else _labels_text(found, "<0" if target is None else "open")


def needed_text(found: Labels | None, budget: int) -> str:
    """400 (342 to 472), or >512 where the rate was not reached."""
    return MISSING if found is None else _labels_text(found, f">{budget}")


def _labels_text(found: Labels, end: str) -> str:
    value = _bound_text(found) if found.num_labels is None else f"{found.num_labels:.0f}"
    if found.interval is None or value == MISSING:
        return value
    low, high = (end if limit is None else f"{limit:.0f}" for limit in found.interval)
    return value if low == high == value else f"{value} ({low} to {high})"


def _bound_text(found: Labels) -> str:
    """What is known of a number that lies beyond what was bought."""
    if found.at_least is not None:
        return f">{math.floor(found.at_least)}"
    return MISSING if found.at_most is None else f"<{math.ceil(found.at_most)}"


def _curves(rows: Sequence[Row]) -> str:
    return table(["labels", *(row.strategy for row in rows)], _curve_cells(rows))


def _curve_cells(rows: Sequence[Row]) -> Iterator[list[str]]:
    for points in zip(*(row.curve for row in rows), strict=True):
        yield [str(points[0].num_labels), *(_with_error(point.win_rate) for point in points)]


def _with_error(estimate: Estimate, signed: bool = False) -> str:
    return f"{number(estimate.mean, 3, signed)} ±{number(estimate.se_two_way, 3)}"


def _interval(ends: tuple[float, float], signed: bool = False) -> str:
    low, high = (number(end, 3, signed) for end in ends)
    return MISSING if low == MISSING else f"{low} to {high}"


def _rates(rows: Sequence[Row]) -> str:
    columns = [
        "win rate",
        "seeds",
        "95 %",
        "worst",
        "best",
        "length-controlled",
        "SE",
        "area",
        "SE two-way",
        "tied with",
    ]
    return table(columns, map(_rate_cells, rows))


def _rate_cells(row: Row) -> list[str]:
    point, controlled = row.last, row.last.length_controlled
    lengths = [number(controlled.win_rate), number(controlled.se)] if controlled else [MISSING] * 2
    area = [number(row.area.mean), number(row.area.se_two_way)] if row.area else [MISSING] * 2
    return [row.strategy, format_seeds(row.seeds), _interval(point.interval), number(point.bounds.worst),
            number(point.bounds.best), *lengths, *area, ", ".join(row.standing.tied_with)]  # fmt: skip


def _differences(rows: Sequence[Row]) -> str:
    columns = [f"minus {BASELINE}", "seeds", "95 %", "SE seeds", "sd seeds", "p", "p two-way", "p Holm", "worst",
               "best", "area", "SE two-way", "p"]  # fmt: skip
    shown = [(row, row.last.difference) for row in rows if row.last.difference]
    return table(columns, [_detail_cells(row, found) for row, found in shown])


def _detail_cells(row: Row, found: Difference) -> list[str]:
    area = row.area_difference
    areas = [MISSING] * 3
    if area:
        areas = [number(area.estimate.mean, signed=True), number(area.estimate.se_two_way), number(area.p_value)]
    bounds = [number(found.bounds.worst, signed=True), number(found.bounds.best, signed=True)]
    return [row.strategy, format_seeds(row.shared_seeds), _interval(found.estimate.interval, signed=True),
            *map(number, (found.estimate.se_seeds, found.sd_seeds, found.p_value, found.p_two_way, found.p_holm)),
            *bounds, *areas]  # fmt: skip


def _labels_needed(comparison: Comparison) -> str:
    budget = comparison.rows[0].last.num_labels
    cells = [
        [row.strategy, number(needed.target), needed_text(needed, budget), saved_text(row.saved, comparison.target)]
        for row in comparison.rows
        if (needed := row.to_target)
    ]
    return table(["labels needed", "target", "labels (95 %)", "saved (95 %)"], cells)


def _at_equal_kl(rows: Sequence[Row]) -> str:
    """Differences from random at each KL that anybody reaches, with two-way errors and p."""
    every = sorted({found.kl for row in rows for found in row.at_kl})
    columns = [f"minus {BASELINE} at a KL of", *(f"{kl:g}" for kl in every)]
    return table(columns, [[row.strategy, *_at_kl_cells(row, every)] for row in rows if row.at_kl])


def _at_kl_cells(row: Row, every: Sequence[float]) -> Iterator[str]:
    by_kl = {found.kl: found.difference for found in row.at_kl}
    for kl in every:
        found = by_kl.get(kl)
        yield f"{_with_error(found.estimate, signed=True)}, p {number(found.p_value, 3)}" if found else MISSING


def _beside(rows: Sequence[Row]) -> str:
    columns = ["beside", "KL", "length", "repetition", "perplexity", "invalid", "judge: first"]
    return table(columns, map(_beside_cells, rows))


def _beside_cells(row: Row) -> list[str]:
    point, beside = row.last, row.last.beside
    digits = [number(beside.kl, 2), number(beside.mean_length, 1), number(beside.repetition, 3)]
    health = [number(point.share_invalid, 3), number(point.share_first_shown, 3)]
    return [row.strategy, *digits, number(beside.perplexity, 1), *health]


def _learned(rows: Sequence[Row]) -> str:
    columns = ["implicit reward", "accuracy", "Brier", "ECE", "score", "oracle: invalid", "first"]
    return table(columns, map(_learned_cells, rows))


def _learned_cells(row: Row) -> list[str]:
    found, known = row.learned, row.learned.calibration
    digits = [number(known.accuracy, 3), number(known.brier, 3), number(known.error, 3)] if known else [MISSING] * 3
    return [row.strategy, *digits, number(found.correlation, 2, signed=True),
            number(found.share_invalid, 3), number(found.share_first_shown, 3)]  # fmt: skip


def _costs(rows: Sequence[Row]) -> str:
    columns = [
        "costs a run",
        "labels",
        "judge calls",
        "chosen from",
        "generated",
        "scored",
        "trained",
        "seconds",
        "USD",
    ]
    return table(columns, map(_cost_cells, rows))


def _cost_cells(row: Row) -> list[str]:
    cost = row.costs
    counts = (cost.num_labels, cost.num_judge_calls, cost.acquisition_generated_tokens, cost.generated_tokens,
              cost.scored_tokens, cost.trained_tokens, cost.seconds)  # fmt: skip
    return [row.strategy, *(number(count, 0) for count in counts), number(cost.cost_usd, 2)]
