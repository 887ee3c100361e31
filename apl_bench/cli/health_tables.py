"""A report on judges as a table on a terminal, as JSON and as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from apl_bench.annotation.agreement import Measure
from apl_bench.cli.console import heading, number, safe, table
from apl_bench.health.measures import Agreement, Found, Missing
from apl_bench.health.opinions import Cost, WinRates
from apl_bench.health.telling import Report, lines
from apl_bench.statistics import Estimate

SCHEMA = "apl-judge-report/1"
KEY = (
    "Shares with intervals of 95 % (Clopper and Pearson, the pairs of a prompt counted as one cluster); of: how many.",
    "kappa and alpha: bootstrap over pairs. A pair that was judged several times counts once. p: exact, two-sided.",
)


def to_text(report: Report) -> str:
    """The report as people read it; judges have numbers."""
    parts = [_subject_text(report, place) for place in range(len(report.subjects))]
    known = [
        row for one, other, found in report.agreements for row in _agreement_rows(f"{one + 1} and {other + 1}", found)
    ]
    if known:
        parts.append(heading("agreement") + "\n" + table(["of", "measure", "value", "low", "high", "pairs"], known))
    if report.rates:
        columns = ["judge", "run", "labels", "recorded", "under it", "difference"]
        numbers = {subject.name: str(place + 1) for place, subject in enumerate(report.subjects)
                   if subject.part == "against"}  # fmt: skip
        rows = [[numbers[name], *_rate_cells(rate)] for name, rate in report.rates]
        parts.append(heading("win rates, ± standard error over prompts") + "\n" + table(columns, rows))
    unknown = [line for one, other, found in report.agreements for line in _agreement_unknown(one, other, found)]
    parts.append("\n".join([*unknown, *KEY]))
    return "\n\n".join(parts)


def _subject_text(report: Report, place: int) -> str:
    subject, found = report.subjects[place], report.healths[place]
    every = list(lines(report, place))
    rows = [[line.text, *_cells(line.found), line.note] for line in every if isinstance(line.found, Measure)]
    unknown = [f"not known: {line.text}: {line.found.why}" for line in every if isinstance(line.found, Missing)]
    counts = (f"{found.num_pairs} pairs: {found.num_asked} different, {found.num_identical} of equal texts, about "
              f"which nobody is asked; {_cost_text(report.costs[place])}")  # fmt: skip
    measured = table(["measure", "value", "low", "high", "of", "note"], rows) if rows else "nothing to measure"
    return "\n".join([heading(f"{place + 1}  {subject.title}"), safe(counts), measured, *map(safe, unknown)])


def _cost_text(spent: Cost) -> str:
    if spent.tokens is None:
        return f"{spent.calls} answers, no usage recorded"
    dollars = "price unknown" if spent.cost_usd is None else f"${spent.cost_usd:.4f} by list price, batches not off"
    return f"{spent.calls} answers, {spent.tokens} tokens, {dollars}"


def _measures(found: Agreement | Missing) -> Iterator[tuple[str, str, Found]]:
    """For programs and for people."""
    if isinstance(found, Missing):
        yield "agreement", "agreement", found
        return
    yield "same_verdict", "same verdict", found.same
    yield "cohen_kappa", "kappa (Cohen)", found.kappa
    yield "krippendorff_alpha", "alpha (Krippendorff)", found.alpha


def _agreement_rows(who: str, found: Agreement | Missing) -> Iterator[list[str]]:
    for _, text, measure in _measures(found):
        if isinstance(measure, Measure):
            yield [who, text, *_cells(measure)]


def _agreement_unknown(one: int, other: int, found: Agreement | Missing) -> Iterator[str]:
    for _, text, measure in _measures(found):
        if isinstance(measure, Missing):
            yield f"not known: {text} of {one + 1} and {other + 1}: {measure.why}"


def _cells(measure: Measure) -> list[str]:
    return [*(number(value, 3) for value in (measure.value, measure.low, measure.high)), str(measure.num_items)]


def _rate_cells(rate: WinRates) -> list[str]:
    both = [_with_error(rate.recorded), _with_error(rate.other), _with_error(rate.difference, signed=True)]
    return [rate.run, str(rate.num_labels), *both]


def _with_error(estimate: Estimate, signed: bool = False) -> str:
    return f"{number(estimate.mean, 3, signed)} ±{number(estimate.se_two_way, 3)}"


def to_json(report: Report) -> str:
    """Everything that is told; null for what is no number, {"missing": why} for what cannot be said."""
    judges = [
        {
            "part": subject.part,
            "judge": subject.name,
            "order": subject.order,
            "sound": subject.sound,
            "cost": _plain(spent),
            **_plain(found),
        }
        for subject, found, spent in zip(report.subjects, report.healths, report.costs, strict=True)
    ]
    agreements = [{"judges": [one + 1, other + 1], **_plain(found)} for one, other, found in report.agreements]
    rates = [{"judge": name, **_plain(rate)} for name, rate in report.rates]
    content = {"schema": SCHEMA, "judges": judges, "agreements": agreements, "win_rates": rates}
    return json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Missing):
        return {"missing": value.why}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_csv(report: Report) -> str:
    """A line for each measure; empty where there is no number, and then `note` says why."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["part", "judge", "measure", "value", "low", "high", "num", "note"])
    for place, subject in enumerate(report.subjects):
        for line in lines(report, place):
            writer.writerow([subject.part, safe(subject.name), line.name, *_csv_cells(line.found, line.note)])
    for one, other, found in report.agreements:
        who = f"{report.subjects[one].title} and {report.subjects[other].title}"
        for name, _, measure in _measures(found):
            writer.writerow(["agreement", safe(who), name, *_csv_cells(measure, "")])
    for judge, rate in report.rates:
        for name, estimate in (("recorded", rate.recorded), ("under_it", rate.other), ("difference", rate.difference)):
            ends = [_finite(estimate.mean), "", "", "", f"standard error {_finite(estimate.se_two_way)}"]
            writer.writerow(["win rate", safe(f"{judge}; {rate.run}; {rate.num_labels} labels"), name, *ends])
    return file.getvalue()


def _csv_cells(found: Found, note: str) -> list[object]:
    if isinstance(found, Missing):
        return ["", "", "", 0, safe(found.why)]
    return [*map(_finite, (found.value, found.low, found.high)), found.num_items, safe(note)]


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else ""
