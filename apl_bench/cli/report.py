"""apl-bench report: runs written up as one HTML page, and figures for papers beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from apl_bench.cli.console import safe


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("report"), show_default=True,
              help="The folder that gets report.html and figures/.")  # fmt: skip
@click.option("--pairs", "num_pairs", type=click.IntRange(0), metavar="N",
              help="Single pairs on the page.  [default: 1200, or fewer where they are long]")  # fmt: skip
@click.option("--title", default="Report", show_default=True, help="The page's title.")
@click.option("--figures/--no-figures", default=True, help="Write figures as PNG and SVG as well.  [default: write]")
@click.option("--family", "family_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Hypotheses as JSON, as they were declared before the runs; see docs/statistics.md.")  # fmt: skip
@click.option("--unranked", multiple=True, metavar="STRATEGY", help="Show it without a rank. May be repeated.")
def report_(runs: tuple[Path, ...], out: Path, family_file: Path | None, **options: Any) -> None:
    """Write up the complete runs in RUNS, folders that are searched at any depth.

    The page is one file that asks for nothing from anywhere: results, figures, costs, the health of oracle and judge,
    and single pairs to look at. Runs of other settings are a section of their own.
    """
    from apl_bench.comparison import Plan
    from apl_bench.records import find_runs
    from apl_bench.report.page import FIGURES, ReportOptions, write_report
    from apl_bench.statistics import Family

    found = find_runs(runs)
    for run in found:
        if not run.complete:
            click.echo(f"left out, not complete: {safe(run.path)}", err=True)
    plan = Plan(Family.read(family_file) if family_file else None, unranked=frozenset(options["unranked"]))
    page = write_report(found, out, ReportOptions(options["num_pairs"], options["title"], options["figures"], plan))
    click.echo(f"report: {safe(page)} ({page.stat().st_size / 1e6:.1f} MB)")
    if options["figures"]:
        click.echo(f"figures: {safe(out / FIGURES)}")
