"""apl-bench annotate: people answer what runs have asked, on a page, in a terminal, or in files."""

from __future__ import annotations

import getpass
import re
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from apl_bench.cli.console import safe
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.annotation.page import Desk, Page
    from apl_bench.annotation.queue import Queue

PATIENCE_S = 3
GO_ON = "The run goes on with the command that began it."
_annotator = click.option("--annotator", help="A name of your choice; it is recorded.  [default: your login]")
_second_opinions = click.option(
    "--second-opinions", is_flag=True, help="Show what others have decided too: it changes no label; for agreement."
)


@click.group()
def annotate() -> None:
    """Answer what a run with a human oracle has asked, and see how far annotators agree.

    QUEUE is the name that the run gave: apl-bench run --oracle 'human:QUEUE(template=people-sentiment-v1)'
    """


def _login() -> str:
    try:
        return re.sub(r"[^A-Za-z0-9_-]+", "-", getpass.getuser())[:64]
    except (OSError, KeyError, ImportError):  # a login without a name
        return "annotator"


def _open(name: str, annotator: str | None) -> tuple[Queue, str]:
    from apl_bench.annotation.queue import Queue, checked_name

    return Queue.existing(name), checked_name(annotator or _login(), "--annotator")


def _tell(queue: Queue) -> None:
    for notice in queue.notices:
        click.echo(f"queue: {safe(notice)}", err=True)


@annotate.command()
@click.argument("queue")
@_annotator
@_second_opinions
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1.  [default: a free one]")
@click.option("--until-done", is_flag=True, help="End when nothing is left to answer.")
def page(queue: str, annotator: str | None, second_opinions: bool, port: int, until_done: bool) -> None:
    """Serve a page to answer QUEUE on.

    It is for one annotator, and can be reached from this machine alone. Keys: A or B is better, T for a tie, S to
    skip, U to undo.
    """
    from apl_bench.annotation.page import Desk, Page

    opened, name = _open(queue, annotator)
    desk = Desk(opened, name, second_opinions)
    try:
        server = Page(desk, port)
    except OSError as error:
        raise SpecError(f"cannot serve on port {port}: {error.strerror or error}; choose another --port") from error
    click.echo(f"{safe(name)} answers on: {server.url}")
    click.echo("Keep the address to yourself: whoever has it answers in this name. Ctrl-C ends.", err=True)
    try:
        _serve(server, desk, until_done)
    except KeyboardInterrupt:
        click.echo("ended", err=True)
    finally:
        desk.leave()
        server.server_close()
        _tell(opened)


def _serve(server: Page, desk: Desk, until_done: bool) -> None:
    """Serve until Ctrl-C; where asked, until the last page was shown, or a few seconds where nobody looks at it."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    patience_s = PATIENCE_S
    try:
        while patience_s > 0:
            time.sleep(1)
            if until_done and desk.is_done():
                patience_s = 0 if desk.done_shown.is_set() else patience_s - 1
            else:
                patience_s = PATIENCE_S
    finally:
        server.shutdown()
        thread.join()
    click.echo(f"All is answered. {GO_ON}")


@annotate.command()
@click.argument("queue")
@_annotator
@_second_opinions
def terminal(queue: str, annotator: str | None, second_opinions: bool) -> None:
    """Answer QUEUE in this terminal.

    Keys: A or B is better, T for a tie, S to skip, U to undo, Q to quit.
    """
    from rich.console import Console

    from apl_bench.annotation.terminal import Session

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SpecError("this is no terminal; use `apl-bench annotate page`, or export and import")
    opened, name = _open(queue, annotator)
    session = Session(opened, name, second_opinions, Console(highlight=False), click.getchar)
    try:
        num_answered = session.run()
    except (KeyboardInterrupt, EOFError):
        click.echo("ended; all answers are kept")
        return
    finally:
        _tell(opened)
    click.echo(f"{num_answered} answered as {safe(name)}. {GO_ON}")


FORMATS = ("jsonl", "label-studio", "argilla")


@annotate.command("export")
@click.argument("queue")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--answers", is_flag=True, help="Write the answers that are there too, not only what wants one.")
@click.option("--config", type=click.Path(path_type=Path), help="Write Label Studio's labelling configuration here.")
def export_(queue: str, file: Path, form: str, answers: bool, config: Path | None) -> None:
    """Write what wants an answer to FILE.

    People elsewhere answer it; `apl-bench annotate import` takes it back. It does not say which items are checks.
    """
    from apl_bench.annotation.exchange import WRITERS, shuffled
    from apl_bench.annotation.label_studio import labelling_config

    opened, _ = _open(queue, None)
    state = opened.refresh()
    items = shuffled(list(state.items.values()) if answers else state.open_items())
    given = [answer for item in items for answer in state.answers[item.id]] if answers else []
    for path in (file, config):
        if path and path.exists():
            raise SpecError(f"{path} exists; remove it, or choose another name")
    file.write_text(WRITERS[form](items, given), encoding="utf-8")
    if config:
        config.write_text(labelling_config(items), encoding="utf-8")
    click.echo(f"{len(items)} items and {len(given)} answers written to {safe(file)}")
    _tell(opened)


@annotate.command("import")
@click.argument("queue")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--annotator", help="Who answered, where the file does not say.")
def import_(queue: str, file: Path, form: str, annotator: str | None) -> None:
    """Take the answers in FILE.

    All of them, or none: then the error names the place of the first that cannot be taken.
    """
    from apl_bench.annotation.exchange import READERS, accept, read_text
    from apl_bench.annotation.queue import checked_name

    opened, _ = _open(queue, None)
    name = checked_name(annotator, "--annotator") if annotator else None
    taken = accept(opened, READERS[form](read_text(file)), name)
    click.echo(f"{taken.num_new} answers taken from {safe(file)}, {taken.num_known} were there already")
    _tell(opened)


@annotate.command()
@click.argument("queue")
def status(queue: str) -> None:
    """Say how much is answered, and by whom."""
    from apl_bench.cli.console import table

    opened, _ = _open(queue, None)
    state = opened.refresh()
    labels, undecided = state.labels(), state.undecided()
    click.echo(f"{len(labels) - len(undecided)} of {len(labels)} items have a label; "
               f"{len(state.items) - len(labels)} hidden checks; a run has used {len(state.taken)}")  # fmt: skip
    if state.annotators():
        rows = [[name, len(state.by(name)), state.by(name)[-1].submitted] for name in state.annotators()]
        click.echo(table(["annotator", "answers", "last"], rows))
    _tell(opened)


@annotate.command()
@click.argument("queue")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def agreement(queue: str, as_json: bool) -> None:
    """Say how far annotators agree.

    With each other: Cohen's kappa, Krippendorff's alpha. With themselves: hidden repeats and swaps.
    """
    from apl_bench.annotation.report import report, rows, to_json
    from apl_bench.cli.console import table

    opened, _ = _open(queue, None)
    found = report(opened.refresh())
    if as_json:
        click.echo(to_json(found))
    else:
        verdicts = [[one.name, *one.verdicts.values(), one.seconds or ""] for one in found.annotators]
        click.echo(table(["annotator", "A", "B", "tie", "skip", "seconds"], verdicts))
        click.echo()
        click.echo(table(["measure", "of", "value", "low", "high", "items"], rows(found)))
        click.echo("low, high: 95 % interval. seconds: median of an answer. Skips count in no agreement.")
    _tell(opened)
