"""apl-bench replay: recompute a run's numbers from what was recorded."""

from __future__ import annotations

from pathlib import Path

import click

MOST_SHOWN = 20


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def replay(runs: tuple[Path, ...]) -> None:
    """Recompute every number of RUNS from recorded texts and raw replies, without a model, and compare.

    Exit code 1: a number differs. Exit code 4: a judgment is missing, and which.
    """
    from apl_bench.cli.console import safe
    from apl_bench.records import find_runs
    from apl_bench.replay import replay as recompute
    from apl_bench.types import SpecError

    failed = False
    for run in find_runs(runs):
        if not run.complete:
            raise SpecError(f"{run.path} is not complete; the same `apl-bench run` command finishes it")
        found = recompute(run)
        failed |= bool(found.differences)
        for line in found.differences[:MOST_SHOWN]:
            click.echo(safe(line))
        verdict = f"{len(found.differences)} DIFFERENCES" if found.differences else "every number the same"
        click.echo(f"{safe(run.path)}: {found.num_judgments} judgments read again, {verdict}")
    if failed:
        raise SystemExit(1)
