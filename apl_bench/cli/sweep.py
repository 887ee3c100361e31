"""apl-bench sweep: a grid of strategies and seeds, on this machine or on a cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.asking import AskingOptions, asking_options, caps_of, means_for
from apl_bench.cli.console import safe, safe_lines
from apl_bench.cli.folders import ledger_folder
from apl_bench.cli.sweep_grid import Wanted, cells_of
from apl_bench.cli.track import track_option
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.sweep.cells import Cell
    from apl_bench.sweep.executor import Executor
    from apl_bench.sweep.schedule import State
    from apl_bench.sweep.tracked import Trackers
    from apl_bench.sweep.worker import Orders
    from apl_bench.tracking.targets import Target

FAILED, AWAITING = 1, 3
SHARED = ".shared"
_OPTIONS = (
    click.argument("file", required=False, type=click.Path(path_type=Path)),
    click.option("--task", help="Task; see: apl-bench list tasks  [default: imdb]"),
    click.option("--preset", help="Scale, or a TOML file of your own  [default: lite]"),
    click.option("--strategies", metavar="NAMES", help="Such as random,certainty; all: every one there is"),
    click.option("--seeds", help="Seeds, such as 0-9 or 0,3,7  [default: 0]"),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
                 help="Change a setting, such as loop.regime=continue; may be repeated"),
    click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
                 help="Where runs are written"),
    click.option("--dry-run", is_flag=True, help="Show how the grid stands, and do nothing"),
    click.option("--executor", "kind", type=click.Choice(["local", "ray"]), default="local", show_default=True,
                 help="Processes of this machine, or a Ray cluster"),
    click.option("--address", help="Of the Ray cluster  [default: RAY_ADDRESS, or a cluster of this machine alone]"),
    click.option("--workers", type=click.IntRange(min=1),
                 help="Cells at a time  [default: one for each GPU, or for each policy.num_threads cores]"),
    click.option("--retries", type=click.IntRange(min=0), default=3, show_default=True,
                 help="How often a cell is tried again whose process died"),
    click.option("--no-share", is_flag=True,
                 help=f"Compute in each cell what theta_0 determines, in place of once, in OUT/{SHARED}"),
    track_option("of each cell when it has ended"),
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How the cells are worked off."""

    dry_run: bool
    kind: str
    address: str | None
    workers: int | None
    retries: int
    no_share: bool
    track: tuple[str, ...]


def sweep_options(command: Any) -> Any:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("sweep")
@sweep_options
@asking_options
def sweep_(file: Path | None, out: Path, asked: AskingOptions, **rest: Any) -> None:
    """Run every cell of a grid, a task x preset x strategy x seed, that is not complete.

    The grid is that of the options, or of FILE (TOML, docs/sweep.md) with the options on top. The same command again
    does only what is missing, and several at a time share the work. A cell that fails is reported, and the rest goes
    on. Exit code 1: some failed; 3: some await labels.
    """
    from apl_bench.tracking.targets import parse_all

    options = Options(**{name: rest.pop(name) for name in Options.__dataclass_fields__})
    if asked.mode in ("refresh", "audit"):
        raise SpecError(f"--mode {asked.mode} asks again what several cells may ask at a time; "
                        "use it with apl-bench run")  # fmt: skip
    if options.address and options.kind != "ray":
        raise SpecError(f"--address {options.address} is of a Ray cluster; expected --executor ray with it")
    targets = parse_all(options.track)
    if options.kind == "ray":  # whose workers are at home in other folders
        out, asked = out.absolute(), replace(asked, ledger=ledger_folder(asked.ledger).absolute())
    cells = cells_of(file, Wanted(oracle=asked.oracle, judge=asked.judge, **rest), out)
    if options.dry_run:
        show(cells)
        return
    states = work_off(cells, out, options, asked, targets)
    for line in conclusion(states):
        click.echo(line)
    raise click.exceptions.Exit(exit_code(states))


def show(cells: Sequence[Cell]) -> None:
    """How the grid stands."""
    from apl_bench.cli.sweep_progress import dry_run

    for line in dry_run(cells):
        click.echo(line)


def work_off(
    cells: Sequence[Cell], out: Path, options: Options, asked: AskingOptions, targets: Sequence[Target]
) -> list[State]:
    """Run what is not complete; nothing is started where everything is. Trackers hear of complete cells, too."""
    from apl_bench.sweep.schedule import begin
    from apl_bench.sweep.tracked import Trackers

    states, trackers = begin(cells), Trackers(targets, out, _tell)
    click.echo(f"{len(states)} cells, {sum(state.was_complete for state in states)} complete already")
    for state in states:
        if state.was_complete:
            trackers.add(state.cell)
    if not all(state.ended for state in states):
        work_off_waiting(states, trackers, out, options, asked)
    trackers.catch_up()
    return states


def work_off_waiting(
    states: Sequence[State], trackers: Trackers, out: Path, options: Options, asked: AskingOptions
) -> None:
    """Start workers, and stop them when nothing is left to do."""
    from apl_bench.cli.sweep_progress import Board
    from apl_bench.sweep.purse import Purse
    from apl_bench.sweep.schedule import Sweep
    from apl_bench.sweep.tracked import Tracked
    from apl_bench.sweep.worker import Orders

    waiting = [state.cell for state in states if not state.ended]
    orders = Orders(partial(means_for, asked), None if options.no_share else out / SHARED)
    folders = [out, ledger_folder(asked.ledger)]
    with (
        ended_by_sigterm(),
        closing(Purse(caps_of(asked), out)) as purse,
        closing(executor_of(waiting, folders, options, orders)) as executor,
        Board(states, executor.num_slots) as board,
    ):
        Sweep(states, executor, purse, Tracked(board, trackers), options.retries).run()
    if purse.spent.calls:
        click.echo(f"spent: {purse.spent}")


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Inside, SIGTERM ends the program as Ctrl-C does, so that workers let go of their cells."""

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def executor_of(waiting: Sequence[Cell], folders: Sequence[Path], options: Options, orders: Orders) -> Executor:
    """The executor that was asked for, with no more slots than there are cells."""
    num_threads = max(cell.spec.policy.num_threads for cell in waiting)
    if options.kind == "ray":
        from apl_bench.sweep.on_ray import Cluster, OnRay

        most = min(options.workers or len(waiting), len(waiting))
        return OnRay(orders, Cluster(options.address, most, num_threads, folders))
    from apl_bench.sweep.local import Local
    from apl_bench.sweep.places import environments

    places = environments(options.workers, num_threads)[: len(waiting)]
    click.echo(f"{len(places)} workers on this machine")
    return Local(orders, places)


def _tell(line: str) -> None:
    click.echo(safe(line), err=True)


def conclusion(states: Sequence[State]) -> Iterator[str]:
    """What to know at the end: what did not end well and why, and what to do."""
    from apl_bench.sweep.worker import End

    ends = [state.end for state in states]
    yield f"{ends.count(End.DONE)} of {len(states)} cells are complete"
    for state in states:
        if state.last is not None and state.end is not End.DONE:
            yield f"{state.last.end.value}: {safe(state.cell.name)}: {safe(state.last.sentence)}"
            if state.last.trace:
                yield safe_lines(state.last.trace)
    if any(end is not End.DONE for end in ends):
        yield "The same command goes on with what is missing."
    else:
        roots = dict.fromkeys(state.cell.path.parents[1] for state in states)
        yield from (f"Next: apl-bench compare {safe(root)}" for root in roots)


def exit_code(states: Sequence[State]) -> int:
    """0 where all is complete; that of what failed before that of what awaits labels."""
    from apl_bench.sweep.worker import End

    ends = {state.end for state in states}
    if ends <= {End.DONE}:
        return os.EX_OK
    return AWAITING if ends <= {End.DONE, End.AWAITING} else FAILED
