"""apl-bench track: runs that were made before, told to experiment trackers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.console import safe

if TYPE_CHECKING:
    from apl_bench.tracking.following import Follower

TRACKERS = "tensorboard[:FOLDER], mlflow[:URI], wandb[:PROJECT] or trackio[:PROJECT]"


def track_option(when: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option by which a command tells trackers of the runs that it makes."""
    return click.option("--track", multiple=True, metavar="TRACKER",
                        help=f"Tell {when}: {TRACKERS}; may be repeated")  # fmt: skip


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--to", "trackers", multiple=True, required=True, metavar="TRACKER", help=f"{TRACKERS}; may be repeated")
def track(runs: tuple[Path, ...], trackers: tuple[str, ...]) -> None:
    """Tell experiment trackers of the runs in RUNS, folders that are searched at any depth, from events.jsonl.

    A run that is there already is not logged again; one that stopped is logged as far as it went, and the same command
    adds the rest. Exit code 1: a tracker failed.
    """
    from apl_bench.records import find_runs
    from apl_bench.tracking.following import log_recorded
    from apl_bench.tracking.targets import parse_all

    targets = parse_all(trackers)
    failed = False
    for run in find_runs(runs):
        for target in targets:
            follower = log_recorded(run, target, _tell)
            failed |= follower.failed
            click.echo(f"{safe(run.path)}: {safe(target)}, {_outcome(follower)}")
    if failed:
        raise SystemExit(1)


def _tell(line: str) -> None:
    click.echo(safe(line), err=True)


def _outcome(follower: Follower) -> str:
    if follower.failed:
        return "FAILED"
    return f"{follower.num_logged} values logged" if follower.num_logged else "all there already"
