"""apl-bench run: one strategy on one task, for one or several seeds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from apl_bench.cli.console import safe
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.cli.progress import Progress
    from apl_bench.experiment import Materials
    from apl_bench.judging import Mode
    from apl_bench.judgments.ledger import Ledger
    from apl_bench.records import Run
    from apl_bench.spec import RunSpec


def parse_seeds(text: str) -> list[int]:
    """`0-4,7` -> [0, 1, 2, 3, 4, 7]."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or int(last or first) < int(first):
            raise SpecError(
                f"--seeds {text!r} is not a list of seeds; expected numbers and ranges, such as 0-4 or 0,3,7"
            )
        seeds += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(seeds))


def ledger_folder(given: Path | None) -> Path:
    """Where judgments are kept between runs: as given, or `judgments` in $APL_BENCH_CACHE_DIR or ~/.cache/apl-bench."""
    cache = Path(os.environ.get("APL_BENCH_CACHE_DIR") or Path.home() / ".cache" / "apl-bench")
    return given or cache / "judgments"


def same_options(preset: str, settings: tuple[str, ...], out: Path, ledger: Path | None) -> list[str]:
    """The options by which another strategy is run in the same way: those that are not the defaults."""
    shared = [("--set", setting) for setting in settings if not setting.startswith("strategy.")]
    given = [("--preset", preset, "lite"), ("--out", out, Path("runs")), ("--ledger", ledger, None)]
    changed = [(name, str(value)) for name, value, default in given if value != default]
    return [word for option in (*changed, *shared) for word in option]


@click.command()
@click.option("--strategy", required=True, help="Acquisition strategy; see: apl-bench list strategies")
@click.option("--task", default="imdb", show_default=True, help="Task; see: apl-bench list tasks")
@click.option(
    "--preset", default="lite", show_default=True, help="Scale, or a TOML file of your own; see: apl-bench list presets"
)
@click.option("--seeds", default="0", show_default=True, help="Seeds, such as 0-4 or 0,3,7")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting, such as training.epochs=3"
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where runs are written"
)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path),
    default=None,
    help="Where judgments are kept between runs  [default: ~/.cache/apl-bench/judgments]",
)
@click.option("--mode", type=click.Choice(["record", "replay"]), default="record", show_default=True,
              help="record: ask the oracle for what the ledger lacks; replay: never ask, stop instead")  # fmt: skip
def run(  # noqa: PLR0913, PLR0917 - one parameter an option
    strategy: str,
    task: str,
    preset: str,
    seeds: str,
    settings: tuple[str, ...],
    out: Path,
    ledger: Path | None,
    mode: str,
) -> None:
    """Run Algorithm 1: buy labels with STRATEGY, fine-tune with DPO, evaluate at each waypoint.

    The same command goes on where a killed run stopped, and skips seeds that are complete.
    """
    from apl_bench.cli.progress import Progress
    from apl_bench.judging import Mode
    from apl_bench.judgments.ledger import Ledger
    from apl_bench.presets import resolve
    from apl_bench.registry import STRATEGIES, TASKS

    STRATEGIES.load(strategy)
    TASKS.load(task)
    name = STRATEGIES.entry(strategy).name  # an alias is the same run as the name it stands for
    specs = [resolve(task, preset, name, settings, seed) for seed in parse_seeds(seeds)]
    with Ledger(ledger_folder(ledger)) as opened:
        try:
            progress = Progress()
            runs = run_all(specs, out, (opened, Mode(mode)), progress)
            progress.next_steps(runs, out, same_options(preset, settings, out, ledger))
        finally:
            for notice in opened.notices:
                click.echo(f"ledger: {safe(notice)}", err=True)


def run_all(specs: list[RunSpec], out: Path, judging: tuple[Ledger, Mode], progress: Progress) -> list[Run]:
    """Run each spec that is not complete; what the seeds share is loaded once, and only if there is anything to do."""
    from apl_bench.experiment import plugins, prepare
    from apl_bench.records import Run, RunWriter, run_path

    materials: Materials | None = None
    runs = [Run(run_path(out, spec)) for spec in specs]
    for spec, run in zip(specs, runs, strict=True):
        if run.complete:
            run.refuse_other(plugins(spec))
            RunWriter(run.path).drop_weights()
            progress.skip(run)
            progress.result(run)
            continue
        if materials is None:
            with progress.loading(spec):
                materials = prepare(spec)
        run_one(spec, run.path, materials, judging, progress)
    return runs


def run_one(spec: RunSpec, path: Path, materials: Materials, judging: tuple[Ledger, Mode], progress: Progress) -> None:
    """One run, from where it stands to its result."""
    from apl_bench import runner
    from apl_bench.experiment import build
    from apl_bench.journal import Journal
    from apl_bench.records import RunWriter

    experiment = build(spec, materials, *judging)
    writer = RunWriter(path)
    writer.open(experiment.manifest())
    try:
        with progress.running(spec, path):
            runner.run(experiment, Journal(writer, materials.clock, progress.event))
    finally:
        writer.close()
    progress.result(writer)
