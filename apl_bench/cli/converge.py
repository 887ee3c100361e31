"""apl-bench converge: loss and win rate against epochs at given numbers of labels (figure 6 of the paper)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.asking import AskingOptions, asking_options, opened
from apl_bench.cli.console import heading, number, safe, table
from apl_bench.cli.folders import ledger_folder
from apl_bench.cli.plan import latency_option, part_text, specs_of, sums_text, wish_of
from apl_bench.cli.run_options import parse_numbers, run_options
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.cli.progress import Progress
    from apl_bench.convergence import Curve, Grid, Point, Record
    from apl_bench.experiment import Experiment
    from apl_bench.planning.plan import Wish
    from apl_bench.planning.units import Unit
    from apl_bench.spec import RunSpec

NAME = "convergence"
KEY = (
    "Loss: mean over the epoch's mini-batches, each before its update. Held out: after the epoch, on labelled pairs",
    "that nothing was trained on. KL: nats a completion. Length: tokens.",
    "The best of several epochs is chosen for its luck too, so that its win rate is flattered. Within one SE: of the",
    "difference from the best, paired by seed and test prompt.",
)


@click.command()
@click.option("--strategy", default="random", show_default=True,
              help="Who chooses pairs, among completions of theta_0; see: apl-bench list strategies")  # fmt: skip
@click.option("--labels", required=True, help="Numbers of labels to train on, whole steps, such as 128,512")
@click.option("--epochs", required=True, help="Numbers of epochs to measure after, such as 1-10 or 1,2,4,8")
@click.option("--held-out/--no-held-out", default=True, show_default=True,
              help="Buy a step of labels more for each seed: the loss on pairs that nothing trained on")  # fmt: skip
@click.option("--plan", "is_plan", is_flag=True, help="Say what it would buy, judge and train, and stop.")
@run_options
@latency_option
@asking_options
def converge(strategy: str, labels: str, epochs: str, held_out: bool, is_plan: bool, **rest: Any) -> None:
    """Draw loss and win rate against epochs at given numbers of labels: the way a preset's epochs are chosen.

    One training for each number of labels is measured after each wanted epoch. The same command goes on where a killed
    one stopped; more labels, epochs or seeds are added to what is there.
    """
    from apl_bench.convergence import Grid, Record, curves, folder_of, seed_path

    asked: AskingOptions = rest["asked"]
    out, latency_s = rest.pop("out"), rest.pop("latency")
    nums = sorted(parse_numbers("--labels", labels, "128,512"))
    grid = Grid(tuple(nums), tuple(sorted(parse_numbers("--epochs", epochs, "1-10 or 1,2,4,8"))), held_out)
    specs = _specs(strategy, **rest)
    records = [Record(seed_path(out, spec)) for spec in specs]
    click.echo(cost(specs, records, grid, wish_of(asked, latency_s), ledger_folder(asked.ledger)))
    if not is_plan:
        _measure_all(specs, records, grid, asked)
        show(specs, curves(records, grid), folder_of(out, specs[0]))


def _specs(strategy: str, settings: tuple[str, ...], **rest: Any) -> list[RunSpec]:
    """What is measured, a spec for each seed."""
    from apl_bench.convergence import settings_of
    from apl_bench.registry import STRATEGIES

    for setting in settings:
        if setting.partition("=")[0].strip() == "training.epochs":
            raise SpecError(f"--set {setting} says nothing here: --epochs says after which epochs to measure; leave "
                            "it out")  # fmt: skip
    STRATEGIES.load(strategy)
    name = STRATEGIES.entry(strategy).name  # an alias is the same as the name it stands for
    return [settings_of(spec) for spec in specs_of([name], settings=settings, **rest)]


def cost(specs: Sequence[RunSpec], records: Sequence[Record], grid: Grid, wish: Wish, folder: Path) -> str:
    """What is to be bought, judged and trained, and what of it is there already; of a network also what it costs."""
    from apl_bench.judgments.ledger import Ledger
    from apl_bench.planning.plan import fits, parts_of
    from apl_bench.planning.standing import Standing

    missing = [unit for spec, record in zip(specs, records, strict=True) for unit in _missing(spec, record, grid)]
    sections = [_counts(specs, records, grid, missing)]
    if missing:
        without_runs = Standing(specs, [], [], records[0].path)  # what runs recorded is not looked through
        with ExitStack() as stack:
            ledger = stack.enter_context(Ledger(folder)) if folder.is_dir() else None
            parts = parts_of(specs, missing, without_runs, ledger, wish)
        sections += [*map(part_text, parts), sums_text(parts, list(fits(parts, wish.caps)))]
    return "\n\n".join(sections) + "\n"


def _missing(spec: RunSpec, record: Record, grid: Grid) -> Iterator[Unit]:
    """What a seed asks yet."""
    from apl_bench.planning.units import Unit

    size, num_prompts, seed = spec.loop.labels_per_step, spec.evaluation.num_prompts, spec.seed
    for step in record.lacks_steps(grid, size):
        yield Unit("oracle", "converge", seed, step, size, (f"converge, step {step}", seed), certain=False)
    for num in grid.labels:
        for epoch in record.lacks_epochs(num, grid):
            share = (f"converge, {num} labels, epoch {epoch}", seed)
            yield Unit("judge", "converge", seed, epoch, num_prompts, share, certain=False)


def _counts(specs: Sequence[RunSpec], records: Sequence[Record], grid: Grid, missing: Sequence[Unit]) -> str:
    from apl_bench.comparison import format_seeds

    size, num_seeds = specs[0].loop.labels_per_step, len(specs)
    num_points = num_seeds * len(grid.labels) * len(grid.epochs)
    to_do = [sum(unit.num_verdicts for unit in missing if unit.part == part) for part in ("oracle", "judge")]
    trainings = sum(bool(record.lacks_epochs(num, grid)) for record in records for num in grid.labels)
    rows = [
        ("labels", num_seeds * len(grid.steps(size)) * size, to_do[0]),
        ("judgments", num_points * specs[0].evaluation.num_prompts, to_do[1]),
        ("trainings", num_seeds * len(grid.labels), trainings),
    ]
    title = f"{_name(specs)}, seeds {format_seeds([spec.seed for spec in specs])}"
    lines = [heading(f"Converge: {title}"), table(["", "in all", "to do"], rows)]
    lines.append(f"A training is of up to {_epochs(grid.epochs[-1])}, on {_listed(grid.labels)} labels.")
    if grid.is_held_out:
        lines.append(f"{num_seeds * size} of the labels are held out (step 0): --no-held-out leaves them out.")
    return "\n".join(lines)


def _name(specs: Sequence[RunSpec]) -> str:
    from apl_bench.comparison import strategy_label

    return f"{specs[0].task.name}-{specs[0].preset}, {strategy_label(specs[0])}"


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def _measure_all(specs: Sequence[RunSpec], records: Sequence[Record], grid: Grid, asked: AskingOptions) -> None:
    """Each seed from where it stands; what the seeds share is loaded once, and only if there is anything to do."""
    from apl_bench.cli.progress import Progress
    from apl_bench.experiment import Materials, build, plugins, prepare

    materials: Materials | None = None
    with opened(asked) as means:
        progress = Progress()
        for spec, record in zip(specs, records, strict=True):
            if not record.lacks(grid, spec.loop.labels_per_step):
                record.refuse_other(plugins(spec))
                continue
            if materials is None:
                with progress.loading(spec):
                    materials = prepare(spec)
            progress.about(f"{_name([spec])}, seed {spec.seed}: writing {record.path}")
            _measure(build(spec, materials, means), grid, record, progress)


def _measure(experiment: Experiment, grid: Grid, record: Record, progress: Progress) -> None:
    from apl_bench.convergence import Diary, measure

    record.open(experiment.manifest())
    try:
        measure(experiment, grid, record, Diary(record, experiment.materials.clock, progress.event))
    finally:
        record.close()


def show(specs: Sequence[RunSpec], found: Sequence[Curve], folder: Path) -> None:
    """The table, the files, and what a reader would choose."""
    from apl_bench.cli.compare import INSTALL_PLOTS, csv_text
    from apl_bench.records import write_atomically

    title = f"{_name(specs)}, {len(specs)} seeds" if len(specs) > 1 else f"{_name(specs)}, seed {specs[0].seed}"
    click.echo("\n".join(["", heading(f"{title}, {specs[0].evaluation.num_prompts} test prompts"), *_table(found)]))
    click.echo("\n".join(["", *KEY, *_notes(specs, found), ""]))
    write_atomically(folder / f"{NAME}.csv", csv_text([_csv_line(point) for curve in found for point in curve.points]))
    if find_spec("matplotlib") is None:
        click.echo(INSTALL_PLOTS, err=True)
    else:
        from apl_bench.cli.convergence_figure import draw_convergence

        draw_convergence(found, title, folder / f"{NAME}.png")
        click.echo(f"figure: {safe(folder / f'{NAME}.png')}", err=True)
    click.echo(f"written: {safe(folder / f'{NAME}.csv')}", err=True)
    for curve in found:
        click.echo(_choice(curve))


def _table(found: Sequence[Curve]) -> list[str]:
    columns = ["labels", "epochs", "loss", "held out", "win rate", "SE", "KL", "length", "repetition"]
    rows = [_cells(point) for curve in found for point in curve.points]
    has_seeds = found[0].points[0].win_rate.num_seeds > 1
    if has_seeds:
        columns.insert(6, "SE seeds")
    return [table(columns, ([*row[:6], *row[6 + (not has_seeds) :]] for row in rows))]


def _cells(point: Point) -> list[str]:
    rate, beside, held_out = point.win_rate, point.beside, point.held_out_loss
    losses = [number(point.loss.mean), number(held_out.mean if held_out else None)]
    rates = [number(rate.mean), number(rate.se_two_way), number(rate.se_seeds)]
    besides = [number(beside.kl, 2), number(beside.mean_length, 1), number(beside.repetition, 3)]
    return [str(point.num_labels), str(point.epoch), *losses, *rates, *besides]


def _notes(specs: Sequence[RunSpec], found: Sequence[Curve]) -> Iterator[str]:
    """What a reader has to know before believing a line."""
    if len(specs) == 1:
        yield "note: one seed: SE is over the test prompts alone, and says nothing of another seed"
    else:
        yield "SE: over seeds and test prompts (two-way). SE seeds: over seeds alone, as the paper prints it."
    if specs[0].oracle == specs[0].judge:
        yield "note: the judge is the oracle that labelled: a policy that games it wins, and more epochs game it more"
    for point in (point for curve in found for point in curve.points if not point.is_sound):
        yield (f"note: UNSOUND: over 1 % of the verdicts at {point.num_labels} labels and {point.epoch} epochs could "
               "not be read")  # fmt: skip


def _choice(curve: Curve) -> str:
    """What a reader would choose, and how sure that is."""
    choice, rates = curve.choice, {point.epoch: point.win_rate for point in curve.points}
    if choice is None:
        return f"{curve.num_labels} labels: no choice, as there are epochs at which no verdict could be read"
    rate = rates[choice.best]
    parts = [f"{curve.num_labels} labels: best win rate {number(rate.mean, 3)} ±{number(rate.se_two_way, 3)}, after "
             f"{_epochs(choice.best)}"]  # fmt: skip
    if choice.best == max(rates) > min(rates):
        parts.append("the most that was measured, so that more may be better")
    if choice.difference is None:
        parts.append("no fewer are within one SE of it" if choice.best > min(rates) else "the fewest that was measured")
    else:
        below = f"{number(choice.difference.mean, 3, signed=True)} ±{number(choice.difference.se_two_way, 3)}"
        parts.append(f"the fewest within one SE of it: {_epochs(choice.fewest)} ({below})")
    return "; ".join(parts)


def _epochs(num: int) -> str:
    return f"{num} epoch" if num == 1 else f"{num} epochs"


def _csv_line(point: Point) -> dict[str, Any]:
    held_out = point.held_out_loss
    return {
        "num_labels": point.num_labels,
        "epochs": point.epoch,
        "num_seeds": point.win_rate.num_seeds,
        "loss": point.loss.mean,
        "loss_se_seeds": point.loss.se_seeds,
        "held_out_loss": held_out.mean if held_out else None,
        "held_out_loss_se_seeds": held_out.se_seeds if held_out else None,
        "win_rate": point.win_rate.mean,
        "se_two_way": point.win_rate.se_two_way,
        "se_seeds": point.win_rate.se_seeds,
        **asdict(point.beside),
        "share_invalid": point.share_invalid,
    }
