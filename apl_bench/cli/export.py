"""apl-bench export: what runs bought as a data set, and what came of it as evaluation results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.console import safe

if TYPE_CHECKING:
    from apl_bench.records import Run

_runs = click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
_out = click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write.")
_replace = click.option("--replace", is_flag=True, help="Replace what an earlier export wrote there.")


@click.group("export")
def export_() -> None:
    """Give preferences and results away in formats that others read."""


@export_.command()
@_runs
@_out
@click.option("--format", default="jsonl", show_default=True, type=click.Choice(["jsonl", "parquet", "datasets"]))
@click.option("--style", default="plain", show_default=True, type=click.Choice(["plain", "conversational"]),
              help="Texts as the policy saw them, or messages of a user and an assistant.")  # fmt: skip
@_replace
def preferences(runs: Sequence[Path], **options: Any) -> None:
    """Write what the complete runs in RUNS bought as a data set for TRL: prompt, chosen, rejected.

    With where each preference comes from, and a card. Ties and labels that could not be read are left out and counted.
    """
    from apl_bench.export.dataset import Wanted, export_preferences

    wanted = Wanted(**options)
    bought = export_preferences(_complete(runs), wanted)
    num, num_labels = (sum(counts) for counts in zip(*((len(run.rows), run.num_labels) for run in bought), strict=True))
    ties, invalid = (sum(counts) for counts in zip(*((run.num_ties, run.num_invalid) for run in bought), strict=True))
    click.echo(f"{num} preferences of {num_labels} labels, {len(bought)} runs ({ties} ties and {invalid} unreadable "
               "labels left out)")  # fmt: skip
    click.echo(f"Written: {safe(wanted.out)}")


@export_.command()
@_runs
@_out
@click.option("--benchmark", metavar="OWNER/NAME", help="A benchmark data set on the hub, for .eval_results/ files.")
@click.option("--source", metavar="URL", help="Where the evidence can be seen, such as a submission's page.")
@_replace
def results(runs: Sequence[Path], **options: Any) -> None:
    """Write the win rates of the complete runs in RUNS as Hugging Face evaluation results.

    A folder for each strategy: a model card whose header holds them, and, with --benchmark, a file for .eval_results/.
    """
    from apl_bench.export.results import Publication, export_results

    publication = Publication(**options)
    folders = export_results(_complete(runs), publication)
    for folder in folders:
        click.echo(f"Written: {safe(publication.out / folder)}")
    if publication.benchmark is None:
        click.echo("no .eval_results/: they name a benchmark data set on the hub; give one with --benchmark OWNER/NAME")


def _complete(paths: Sequence[Path]) -> list[Run]:
    """The complete runs at or below these paths; others are told of."""
    from apl_bench.records import find_runs
    from apl_bench.types import SpecError

    found = find_runs(paths)
    for run in found:
        if not run.complete:
            click.echo(f"left out, not complete: {safe(run.path)}", err=True)
    complete = [run for run in found if run.complete]
    if not complete:
        raise SpecError(f"none of the {len(found)} runs is complete; finish them with the command that began them")
    return complete
