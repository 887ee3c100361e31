"""apl-bench leaderboard: record submissions, note what happens to them, build the site, check that it is current."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from apl_bench.cli.console import safe
from apl_bench.wording import quantity

if TYPE_CHECKING:
    from apl_bench.leaderboard.site.store import Store

SUBMISSIONS, OUT = Path("leaderboard/submissions"), Path("docs/leaderboard")

_submissions_option = click.option(
    "--submissions", type=click.Path(path_type=Path), default=SUBMISSIONS, show_default=True,
    help="The folder of submissions; records and history stand beside it.",
)  # fmt: skip
_workers_option = click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True,
                               help="Processes that verify.")  # fmt: skip
_ids_argument = click.argument("ids", nargs=-1, metavar="[ID]...")


@click.group("leaderboard")
def leaderboard_() -> None:
    """Build the leaderboard's pages and tables, from submissions and what was recorded of them."""


@leaderboard_.command()
@_submissions_option
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True, help="Where the site goes.")
@click.option(
    "--check", is_flag=True, help="Write nothing: verify every submission, and fail where the site is not current."
)
@_workers_option
def build(submissions: Path, out: Path, check: bool, workers: int) -> None:
    """Build the site; no model is run, and no run is opened.

    With --check every submission is verified as `apl-bench verify` does it, its outcomes are compared with the records,
    and the site in --out with what a build would write. The exit code is 1 where anything is wrong.
    """
    from apl_bench.leaderboard.site.build import build as build_site

    store = _store(submissions)
    if check:
        _check(store, out, workers)
        return
    files = build_site(store, out)
    num = quantity(len(store.ids()), "submission")
    click.echo(f"{len(files)} files of {num}, {safe(out / 'index.html')} first")


def _check(store: Store, out: Path, num_workers: int) -> None:
    from apl_bench.leaderboard.site.build import outdated
    from apl_bench.leaderboard.site.recording import wrong_records

    wrong = [line for submission in store.ids() for line in wrong_records(store, submission, num_workers)]
    if not wrong:
        wrong = outdated(store, out)
        wrong += ["build the site again: apl-bench leaderboard build"] if wrong else []
    for line in wrong:
        click.echo(safe(line), err=True)
    if wrong:
        raise click.exceptions.Exit(1)
    click.echo(f"{quantity(len(store.ids()), 'submission')} verified, and {safe(out)} is current")


@leaderboard_.command()
@_submissions_option
@_workers_option
@_ids_argument
def record(submissions: Path, workers: int, ids: Sequence[str]) -> None:
    """Verify submissions, and write down what the site is built from.

    Outcomes, control rows and the report of each ID, of all where none is given. A submission that fails is not
    recorded. Control rows ask the judge of the submission, where it is local.
    """
    from apl_bench.leaderboard.site.recording import record as record_one

    _each(_store(submissions), ids, lambda store, submission: record_one(store, submission, workers, _today()))


@leaderboard_.command()
@_submissions_option
@_workers_option
@_ids_argument
def controls(submissions: Path, workers: int, ids: Sequence[str]) -> None:
    """Write the control rows of submissions anew: null, copy, longest, shuffled.

    The last two are judged by the submission's own judge, offline, where it is local; where it is not, the row says so.
    """
    from apl_bench.leaderboard.site.recording import record_controls

    _each(_store(submissions), ids, lambda store, submission: record_controls(store, submission, workers))


@leaderboard_.command()
@_submissions_option
@click.argument("submission", metavar="ID")
@click.argument("event", type=click.Choice(["audited", "re-run", "replaced", "retracted"]))
@click.option("--why", required=True, help="The reason, which readers will see.")
@click.option("--by", default="", help="Who audited or re-ran it; the ID of what replaces it.")
@click.option("--date", default=None, help="Such as 2026-11-21.  [default: today]")
def mark(submissions: Path, submission: str, event: str, why: str, by: str, date: str | None) -> None:
    """Note what happened to a submission: a badge, or that it no longer stands. It goes to history.jsonl."""
    from apl_bench.leaderboard.site.history import Event, append, require_known

    store = _store(submissions)
    store.folder(submission)
    noted = Event(date or _today(), submission, event, why, by)
    require_known([noted], store.ids())
    append(store.history, noted)
    click.echo(f"{submission} {event}; build the site again: apl-bench leaderboard build")


def _each(store: Store, ids: Sequence[str], work: Callable[[Store, str], Iterator[str]]) -> None:
    for submission in ids or store.ids():
        store.folder(submission)
        for line in work(store, submission):
            click.echo(safe(line))


def _store(submissions: Path) -> Store:
    from apl_bench.leaderboard.site.store import Store

    return Store.beside(submissions)


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
