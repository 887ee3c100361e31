"""apl-bench compare: the table of strategies, their differences from random, and the two figures."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from apl_bench.cli.console import heading, number, safe, table
from apl_bench.comparison import Comparison, Point, Row, compare, format_seeds, share_wrong
from apl_bench.comparison_json import comparison_json
from apl_bench.records import Run, file_name, find_runs
from apl_bench.statistics import Estimate
from apl_bench.types import SpecError

SCHEMA = "apl-compare/1"
INSTALL_PLOTS = "figures need matplotlib: pip install 'apl-bench[plots]'"
KEY = (
    "SE: over seeds and test prompts (two-way). SE seeds: over seeds alone, as the paper prints it.",
    "p: exact sign flips of the seeds' differences, two-sided; n seeds give none below 2 / 2^n; not corrected for",
    "the number of strategies. Differences are paired by seed and by test prompt.",
    "KL: nats a completion. Length: tokens. Repetition: share of bigrams. Wrong: share of bought labels that the",
    "policy's implicit preference had the other way (undecided ones left out).",
)


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and draw nothing unless --figures is given.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line for each strategy and waypoint; as --json.")
@click.option("--figures/--no-figures", default=None, help="Draw curves.png and acquired.png.  [default: if possible]")
@click.option("--out", type=click.Path(path_type=Path), help="Where figures go.  [default: the folder of the runs]")
def compare_(runs: Sequence[Path], as_json: bool, as_csv: bool, figures: bool | None, out: Path | None) -> None:
    """Compare the complete runs in RUNS, folders that are searched at any depth.

    Runs that differ in strategy and seed alone are compared; those of other settings are a comparison of their own.
    Differences from random are paired by seed and by test prompt.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot both be printed; give one of them")
    found = find_runs(runs)
    complete = [run for run in found if run.complete]
    _tell_of_incomplete([run for run in found if not run.complete])
    if not complete:
        raise SpecError(f"none of the {len(found)} runs is complete; finish them with the command that began them")
    comparisons = compare(complete)
    if as_json or as_csv:
        click.echo(to_json(comparisons) if as_json else to_csv(comparisons), nl=as_json)
    else:
        click.echo("\n\n".join(to_text(comparison) for comparison in comparisons))
    is_asked = figures is True or out is not None
    if figures is not False and (is_asked or not (as_json or as_csv)):
        draw(comparisons, out, is_asked)


def _tell_of_incomplete(runs: Sequence[Run]) -> None:
    for run in runs:
        click.echo(f"left out, not complete: {safe(run.path)}", err=True)


def draw(comparisons: Sequence[Comparison], out: Path | None, is_asked: bool) -> None:
    """Draw both figures of each comparison; without matplotlib say so, and fail only where figures were asked for."""
    if find_spec("matplotlib") is None:
        click.echo(INSTALL_PLOTS, err=True)
        if is_asked:
            raise click.exceptions.Exit(1)
        return
    from apl_bench.report.files import draw_acquired, draw_curves
    from apl_bench.report.results import Results

    folders = [out or comparison.folder for comparison in comparisons]
    for comparison, base in zip(comparisons, folders, strict=True):
        folder = base if folders.count(base) == 1 else base / file_name(comparison.name)
        folder.mkdir(parents=True, exist_ok=True)
        results = Results.read(comparison_json(comparison))
        draw_curves(results, folder / "curves.png")
        for note in draw_acquired(results, folder / "acquired.png"):
            click.echo(f"note: {safe(note)}", err=True)
        click.echo(f"figures: {safe(folder / 'curves.png')}, {safe(folder / 'acquired.png')}", err=True)


def to_text(comparison: Comparison) -> str:
    """The comparison as people read it: results, differences from random, the curve, and what stands beside."""
    rows = comparison.rows
    num_labels = rows[0].last.num_labels
    parts = [
        heading(f"{comparison.name}: {num_labels} labels, {comparison.num_prompts} test prompts"),
        table(["strategy", "seeds", "win rate", "SE", "SE seeds", "area", "SE"], map(_result_cells, rows)),
    ]
    if any(row.last.difference for row in rows):
        columns = ["minus random", "seeds", "difference", "SE", "SE seeds", "sd seeds", "p", "area", "SE"]
        parts.append(table(columns, (_difference_cells(row) for row in rows if row.shared_seeds)))
    parts.append(table(["labels", *(row.strategy for row in rows)], _curve_cells(rows)))
    columns = ["beside", "KL", "length", "repetition", "perplexity", "wrong", "invalid"]
    parts.append(table(columns, map(_beside_cells, rows)))
    parts.append("\n".join([*KEY, *(f"note: {safe(note)}" for note in comparison.notes)]))
    return "\n\n".join(parts)


def _result_cells(row: Row) -> list[str]:
    area = [number(row.area.mean), number(row.area.se_two_way)] if row.area else ["", ""]
    rate = row.last.win_rate
    errors = [number(rate.se_two_way), number(rate.se_seeds)]
    return [row.strategy, format_seeds(row.seeds), number(rate.mean), *errors, *area]


def _difference_cells(row: Row) -> list[str]:
    found, area = row.last.difference, row.area_difference
    assert found is not None  # a row with shared seeds has a difference
    mean, errors = found.estimate.mean, (found.estimate.se_two_way, found.estimate.se_seeds, found.sd_seeds)
    areas = [number(area.estimate.mean, signed=True), number(area.estimate.se_two_way)] if area else ["", ""]
    cells = [number(mean, signed=True), *map(number, errors), number(found.p_value)]
    return [row.strategy, format_seeds(row.shared_seeds), *cells, *areas]


def _curve_cells(rows: Sequence[Row]) -> Iterator[list[str]]:
    for points in zip(*(row.curve for row in rows), strict=True):
        yield [str(points[0].num_labels), *(_with_error(point.win_rate) for point in points)]


def _with_error(estimate: Estimate) -> str:
    return f"{number(estimate.mean, 3)} ±{number(estimate.se_two_way, 3)}"


def _beside_cells(row: Row) -> list[str]:
    point, beside = row.last, row.last.beside
    digits = [number(beside.kl, 2), number(beside.mean_length, 1), number(beside.repetition, 3)]
    return [row.strategy, *digits, number(beside.perplexity, 1), number(share_wrong_of(row), 3),
            number(point.share_invalid, 3)]  # fmt: skip


def share_wrong_of(row: Row) -> float | None:
    """Over all of a strategy's batches."""
    return share_wrong([probability for step in row.acquired for probability in step])


def to_json(comparisons: Sequence[Comparison]) -> str:
    """Everything that the tables are made of; null where there is no number."""
    content = [
        {
            "name": comparison.name,
            "num_prompts": comparison.num_prompts,
            "notes": list(comparison.notes),
            "strategies": [_row_dict(row) for row in comparison.rows],
        }
        for comparison in comparisons
    ]
    return json.dumps({"schema": SCHEMA, "comparisons": content}, indent=2, allow_nan=False)


def _row_dict(row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = _finite(dataclasses.asdict(row))
    return {**{key: value for key, value in fields.items() if key != "acquired"}, "share_wrong": share_wrong_of(row)}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """A line for each strategy and waypoint; empty where there is no number."""
    return csv_text([_csv_line(comparison, row, point) for comparison in comparisons for row in comparison.rows
                     for point in row.curve])  # fmt: skip


def csv_text(lines: Sequence[Mapping[str, Any]]) -> str:
    """Lines of the same fields under their names; empty where there is no number."""
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_finite, lines))
    return file.getvalue()


def _csv_line(comparison: Comparison, row: Row, point: Point) -> dict[str, Any]:
    found = point.difference
    difference = found.estimate if found else Estimate(math.nan, math.nan, math.nan, 0)
    return {
        "comparison": safe(comparison.name),
        "strategy": safe(row.strategy),
        "num_labels": point.num_labels,
        "num_seeds": point.win_rate.num_seeds,
        "win_rate": point.win_rate.mean,
        "se_two_way": point.win_rate.se_two_way,
        "se_seeds": point.win_rate.se_seeds,
        "num_shared_seeds": difference.num_seeds,
        "difference": difference.mean,
        "difference_se_two_way": difference.se_two_way,
        "difference_se_seeds": difference.se_seeds,
        "difference_sd_seeds": found.sd_seeds if found else None,
        "p_value": found.p_value if found else None,
        **dataclasses.asdict(point.beside),
        "share_invalid": point.share_invalid,
    }
