"""apl-bench run: one strategy on one task, for one or several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.asking import AskingOptions, asking_options, opened
from apl_bench.cli.run_options import parse_seeds, run_options
from apl_bench.cli.track import track_option

if TYPE_CHECKING:
    from apl_bench.cli.progress import Progress
    from apl_bench.experiment import Experiment, Materials, Means
    from apl_bench.records import Run
    from apl_bench.spec import RunSpec
    from apl_bench.tracking.targets import Target


def same_options(preset: str, settings: tuple[str, ...], out: Path, asked: AskingOptions) -> list[str]:
    """The options by which another strategy is run in the same way: those that are not the defaults."""
    shared = [("--set", setting) for setting in settings if not setting.startswith("strategy.")]
    given = [("--preset", preset, "lite"), ("--out", out, Path("runs"))]
    given += [(name, value, None) for name, value in asked.given()]
    changed = [(name, str(value)) for name, value, default in given if value != default]
    return [word for option in (*changed, *shared) for word in option]


@click.command()
@click.option("--strategy", required=True, help="Acquisition strategy; see: apl-bench list strategies")
@run_options
@track_option("as the run goes")
@asking_options
def run(strategy: str, track: tuple[str, ...], **rest: Any) -> None:
    """Run Algorithm 1: buy labels with STRATEGY, fine-tune with DPO, evaluate at each waypoint.

    The same command goes on where a killed run stopped, and skips seeds that are complete.
    """
    from apl_bench.cli.progress import Progress
    from apl_bench.presets import Changes, resolve
    from apl_bench.registry import STRATEGIES, TASKS
    from apl_bench.tracking.targets import parse_all

    asked: AskingOptions = rest["asked"]
    task, preset, settings, out = (rest[name] for name in ("task", "preset", "settings", "out"))
    targets = parse_all(track)
    STRATEGIES.load(strategy)
    TASKS.load(task)
    name = STRATEGIES.entry(strategy).name  # an alias is the same run as the name it stands for
    changes = Changes(settings, asked.oracle, asked.judge)
    specs = [resolve(task, preset, name, changes, seed) for seed in parse_seeds(rest["seeds"])]
    with opened(asked) as means:
        progress = Progress()
        runs = run_all(specs, out, means, progress, targets)
        progress.next_steps(runs, out, same_options(preset, settings, out, asked))


def run_all(
    specs: list[RunSpec], out: Path, means: Means, progress: Progress, targets: Sequence[Target] = ()
) -> list[Run]:
    """Run each spec that is not complete; what the seeds share is loaded once, and only if there is anything to do."""
    from apl_bench.experiment import build, plugins, prepare
    from apl_bench.records import Run, RunWriter, run_path
    from apl_bench.tracking.following import log_recorded

    materials: Materials | None = None
    runs = [Run(run_path(out, spec)) for spec in specs]
    for spec, run in zip(specs, runs, strict=True):
        if run.complete:
            run.refuse_other(plugins(spec))
            RunWriter(run.path).drop_weights()
            progress.skip(run)
            progress.result(run)
            for target in targets:
                log_recorded(run, target, progress.about)
            continue
        if materials is None:
            with progress.loading(spec):
                materials = prepare(spec)
        experiment = build(spec, materials, means)
        run_one(experiment, run.path, progress, targets)
    return runs


def run_one(experiment: Experiment, path: Path, progress: Progress, targets: Sequence[Target]) -> None:
    """One run, from where it stands to its result, told to trackers as it goes."""
    from apl_bench import runner
    from apl_bench.journal import recording
    from apl_bench.records import Run
    from apl_bench.tracking.following import following

    def tell(event: dict[str, Any]) -> None:
        progress.event(event)
        track(event)

    with (
        recording(experiment, path, tell) as journal,
        progress.running(experiment.spec, path),
        following(Run(path), targets, progress.about) as track,
    ):
        runner.run(experiment, journal)
    progress.result(Run(path))
