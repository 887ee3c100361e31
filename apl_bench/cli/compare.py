"""apl-bench compare: the table of strategies, their differences from random, and the two figures."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.console import safe
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.comparison import Comparison, Difference, Plan, Point, Row
    from apl_bench.records import Run
    from apl_bench.statistics import Family

INSTALL_PLOTS = "figures need matplotlib: pip install 'apl-bench[plots]'"


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--details", is_flag=True, help="Print intervals, labels needed, judge health and costs as well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and draw nothing unless --figures is given.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line for each strategy and waypoint; as --json.")
@click.option("--hypothesis", "hypotheses", multiple=True, metavar="STRATEGY[@LABELS]",
              help="Test this difference from random; all that are given are corrected together. May be repeated.  "
                   "[default: each other ranked strategy, at the last waypoint]")  # fmt: skip
@click.option("--family", "family_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="The hypotheses as JSON, as they were declared before the runs.")  # fmt: skip
@click.option("--target", type=click.FloatRange(0, 1), help="Count labels to this win rate.  [default: random's last]")
@click.option("--unranked", multiple=True, metavar="STRATEGY", help="Show it without a rank. May be repeated.")
@click.option("--figures/--no-figures", default=None, help="Draw curves.png and acquired.png.  [default: if possible]")
@click.option("--out", type=click.Path(path_type=Path), help="Where figures go.  [default: the folder of the runs]")
def compare_(runs: Sequence[Path], **options: Any) -> None:
    """Compare the complete runs in RUNS, folders that are searched at any depth.

    Runs that differ in strategy and seed alone are compared; those of other settings are a comparison of their own.
    Differences from random are paired by seed and by test prompt.
    """
    asked = Asked(**options)
    if asked.as_json + asked.as_csv + asked.details > 1:
        raise click.UsageError("only one of --details, --json and --csv can be printed; give one of them")
    if asked.hypotheses and asked.family_file:
        raise click.UsageError("--hypothesis and --family both declare hypotheses; give one of them")
    comparisons = _compared(runs, asked)
    is_for_people = not (asked.as_json or asked.as_csv)
    click.echo(_printed(comparisons, asked), nl=not asked.as_csv)
    is_asked = asked.figures is True or asked.out is not None
    if asked.figures is not False and (is_asked or is_for_people):
        draw(comparisons, asked.out, is_asked)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the command, by their names."""

    details: bool
    as_json: bool
    as_csv: bool
    hypotheses: tuple[str, ...]
    family_file: Path | None
    target: float | None
    unranked: tuple[str, ...]
    figures: bool | None
    out: Path | None


def _compared(paths: Sequence[Path], asked: Asked) -> list[Comparison]:
    from apl_bench.comparison import compare
    from apl_bench.records import find_runs

    found = find_runs(paths)
    complete = [run for run in found if run.complete]
    _tell_of_incomplete([run for run in found if not run.complete])
    if not complete:
        raise SpecError(f"none of the {len(found)} runs is complete; finish them with the command that began them")
    return compare(complete, _plan(asked, complete))


def _plan(asked: Asked, runs: Sequence[Run]) -> Plan:
    from apl_bench.comparison import Plan, strategy_label

    names = {strategy_label(run.spec) for run in runs}
    for name in asked.unranked:
        if name not in names:
            raise SpecError(f"--unranked {name!r} has no run here. There are: {', '.join(sorted(names))}")
    return Plan(_family(asked, runs), asked.target, frozenset(asked.unranked))


def _family(asked: Asked, runs: Sequence[Run]) -> Family | None:
    from apl_bench.comparison import strategy_label
    from apl_bench.statistics import Family, Hypothesis

    if asked.family_file:
        return Family.read(asked.family_file)
    last = max(run.spec.loop.waypoints[-1] for run in runs)
    found = tuple(Hypothesis.parse(text, last) for text in asked.hypotheses)
    for one in found:
        _refuse_unknown(one.strategy, {strategy_label(run.spec) for run in runs})
    return Family(found, declared=True) if found else None


def _refuse_unknown(strategy: str, ran: Collection[str]) -> None:
    """SpecError for a name that neither a run nor any strategy has. What exists and was not run may be declared: it
    counts in the correction, and a note says so."""
    from apl_bench.registry import STRATEGIES
    from apl_bench.spec import nearest

    name = strategy.partition("(")[0]  # without its parameters
    if strategy not in ran and name not in STRATEGIES.names():
        raise nearest(strategy, "strategy", {*ran, *STRATEGIES.names()})


def _printed(comparisons: Sequence[Comparison], asked: Asked) -> str:
    from apl_bench.cli.compare_tables import to_details, to_text

    if asked.as_json:
        return to_json(comparisons)
    if asked.as_csv:
        return to_csv(comparisons)
    tell = to_details if asked.details else to_text
    return "\n\n".join(tell(comparison) for comparison in comparisons)


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
    from apl_bench.comparison_json import comparison_json
    from apl_bench.records import file_name
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


def to_json(comparisons: Sequence[Comparison]) -> str:
    """A list of comparisons, each in the schema of apl_bench/comparison_json.py."""
    from apl_bench.comparison_json import comparison_json

    return json.dumps([comparison_json(comparison) for comparison in comparisons], indent=2, allow_nan=False)


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """A line for each strategy and waypoint; empty where there is no number."""
    return csv_text([_csv_line(comparison, row, point) for comparison in comparisons for row in comparison.rows
                     for point in row.curve])  # fmt: skip


def csv_text(lines: Sequence[Mapping[str, Any]]) -> str:
    """Lines of the same fields under their names; empty where there is no number."""
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _or_none(value) for key, value in line.items()} for line in lines)
    return file.getvalue()


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv_line(comparison: Comparison, row: Row, point: Point) -> dict[str, Any]:
    found, controlled = point.difference, point.length_controlled
    low, high = point.interval
    return {
        "comparison": safe(comparison.name),
        "strategy": safe(row.strategy),
        "num_labels": point.num_labels,
        "num_seeds": point.win_rate.num_seeds,
        "win_rate": point.win_rate.mean,
        "se_two_way": point.win_rate.se_two_way,
        "se_seeds": point.win_rate.se_seeds,
        "low": low,
        "high": high,
        **_csv_difference(found),
        "length_controlled": controlled.win_rate if controlled else None,
        **dataclasses.asdict(point.beside),
        "share_invalid": point.share_invalid,
    }


def _csv_difference(found: Difference | None) -> dict[str, Any]:
    names = ("num_shared_seeds", "difference", "difference_se_two_way", "difference_se_seeds", "difference_sd_seeds",
             "difference_low", "difference_high", "p_value", "p_holm", "detectable")  # fmt: skip
    if found is None:
        return dict.fromkeys(names) | {"num_shared_seeds": 0}
    estimate = found.estimate
    values = (estimate.num_seeds, estimate.mean, estimate.se_two_way, estimate.se_seeds, found.sd_seeds,
              *estimate.interval, found.p_value, found.p_holm, found.detectable)  # fmt: skip
    return dict(zip(names, values, strict=True))
