"""apl-bench judge-report: how good a judge is at judging, from recorded runs or on a file of pairs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.asking import AskingOptions, asking_options, opened
from apl_bench.cli.console import safe
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.asking.prices import Price
    from apl_bench.experiment import Means
    from apl_bench.health.opinions import Subject, WinRates
    from apl_bench.health.telling import Report
    from apl_bench.records import Run
    from apl_bench.spec import PluginSpec

INSTALL_PLOTS = "the figure needs matplotlib: pip install 'apl-bench[plots]'"
SUFFIXES = (".png", ".svg")


def means_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of asking without those that say who is asked, which are this command's own."""
    inner = asking_options(command)

    def wrapped(**values: Any) -> Any:
        return inner(oracle=None, judge=None, **values)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    params = getattr(inner, "__click_params__", [])
    kept = [option for option in params if option.name not in ("oracle", "judge")]
    wrapped.__click_params__ = kept  # type: ignore[attr-defined]
    return wrapped


@dataclass(frozen=True)
class Who:
    """Who is asked, and how often: `judges` about a file of pairs, `against` about a run's."""

    judges: tuple[str, ...]
    against: tuple[str, ...]
    task: str | None
    repeats: int | None
    order: str | None

    def given(self) -> list[str]:
        """The options of a file of pairs that were given."""
        named = {"--judge": self.judges, "--task": self.task, "--repeats": self.repeats, "--order": self.order}
        return [name for name, value in named.items() if value]


@click.command("judge-report")
@click.argument("what", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="RUN... | PAIRS")
@click.option(
    "--judge",
    "judges",
    multiple=True,
    metavar="ORACLE",
    help="Whom to ask about PAIRS, such as openai:MODEL; may be given several times.",
)
@click.option(
    "--against",
    multiple=True,
    metavar="ORACLE",
    help="Ask this judge about the comparisons of each RUN too; may be given several times.",
)
@click.option("--task", help="For PAIRS: the task from which judges take what they lack, such as their words.")
@click.option("--repeats", type=click.IntRange(1, 1000), help="For PAIRS: ask each question so often.  [default: 2]")
@click.option(
    "--order",
    type=click.Choice(["random", "both", "fixed"]),
    help="For PAIRS: the order in which two texts are shown.  [default: random]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and draw nothing unless --figure is given.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line for each measure; as --json.")
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    help="Where the figure goes, .png or .svg.  [default: judge-report....png beside RUN or PAIRS]",
)
@click.option("--no-figure", is_flag=True, help="Draw nothing.")
@means_options
def judge_report(
    what: tuple[Path, ...],
    as_json: bool,
    as_csv: bool,
    figure: Path | None,
    no_figure: bool,
    asked: AskingOptions,
    **who: Any,
) -> None:
    """How good a judge is at judging: consistency, position, length, ties, invalid replies, agreement.

    Of RUN... (folders, searched at any depth) the recorded verdicts are read and nobody is asked, unless --against
    names a judge. About PAIRS (one JSONL file: prompt, first, second, and perhaps label) each --judge is asked through
    the ledger.
    """  # fmt: skip
    from apl_bench.cli.health_tables import to_csv, to_json, to_text

    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot both be printed; give one of them")
    if figure is not None and figure.suffix.lower() not in SUFFIXES:
        raise SpecError(f"--figure is {str(figure)!r}; expected a name that ends in {' or '.join(SUFFIXES)}")
    report, place = _report(what, Who(**who), asked)
    form = to_json if as_json else to_csv if as_csv else to_text
    click.echo(form(report).rstrip("\n"))
    if not no_figure and (figure is not None or not (as_json or as_csv)):
        _draw(report, figure or place, is_asked=figure is not None)


def _report(what: Sequence[Path], who: Who, asked: AskingOptions) -> tuple[Report, Path]:
    """What is to be told, and where its figure goes by default."""
    files = [path for path in what if path.is_file()]
    if files and len(what) > 1:
        raise SpecError(f"{files[0]} is a file among {len(what)} paths; expected folders of runs, or one file of pairs")
    if files:
        return _of_pairs(files[0], who, asked), _beside(files[0].parent, files[0].name.split(".")[0])
    if who.given():
        raise SpecError(f"{who.given()[0]} is for a file of pairs, and {what[0]} is a folder; to ask another judge "
                        "about a run's comparisons use --against")  # fmt: skip
    from apl_bench.records import find_runs

    runs = find_runs(what)
    if len(runs) == 1:
        path = runs[0].path.resolve()
        return _of_runs(runs, who, asked), _beside(path.parent, path.name)
    folder = Path(os.path.commonpath([run.path.resolve() for run in runs]))
    return _of_runs(runs, who, asked), folder / "judge-report.png"


def _beside(folder: Path, name: str) -> Path:
    return folder / f"judge-report-{name}.png"


def _of_runs(runs: Sequence[Run], who: Who, asked: AskingOptions) -> Report:
    """Oracles and judges as they were recorded; several runs with the same one are put together."""
    from apl_bench.health.opinions import PARTS, recorded
    from apl_bench.health.telling import Report

    found: dict[str, Subject] = {}
    judged: list[tuple[Run, Subject]] = []
    for run in runs:
        for part in PARTS:
            subject = recorded(run, part)
            found[subject.title] = found[subject.title].joined(subject) if subject.title in found else subject
            judged += [(run, subject)] if part == "judge" else []
    others, rates = _against(judged, who.against, asked) if who.against else ([], [])
    return Report(sorted(found.values(), key=lambda subject: subject.part, reverse=True) + others, (), rates,
                  _price(asked))  # fmt: skip


def _against(
    judged: Sequence[tuple[Run, Subject]], expressions: Sequence[str], asked: AskingOptions
) -> tuple[list[Subject], list[tuple[str, WinRates]]]:
    """What other judges say of the comparisons of each run, and the win rates that follow."""
    from apl_bench.health.opinions import rejudged, win_rates

    found: dict[str, Subject] = {}
    rates = []
    with _asking(asked) as means:
        for expression in dict.fromkeys(expressions):
            for run, before in judged:
                plugin = _plugin(expression, run.spec.task.name)
                after = rejudged(means.judging("judge", plugin, before.order), plugin, before)
                found[after.title] = found[after.title].joined(after) if after.title in found else after
                rates += [(after.name, rate) for rate in win_rates(run, before.opinions, after.opinions)]
    return list(found.values()), rates


def _of_pairs(path: Path, who: Who, asked: AskingOptions) -> Report:
    """What each judge says of the pairs of a file."""
    from dataclasses import replace

    from apl_bench.health.opinions import asked as ask
    from apl_bench.health.pair_file import read_pairs
    from apl_bench.health.telling import Report
    from apl_bench.spec import PluginSpec

    if who.against:
        raise SpecError(f"--against is for the comparisons of a run, and {path} is a file; name judges by --judge")
    if not who.judges:
        raise SpecError(f"{path} is a file of pairs, and nobody is named to judge them; give --judge, such as "
                        "--judge openai:MODEL")  # fmt: skip
    rows = read_pairs(path)
    pairs, order, repeats = [row.pair for row in rows], who.order or "random", 2 if who.repeats is None else who.repeats
    subjects = []
    with _asking(asked) as means:
        for expression in dict.fromkeys(who.judges):
            plugin = _plugin(expression, who.task)
            again = (PluginSpec("repeat", {"num": repeats}),) if repeats > 1 else ()
            whole = replace(plugin, wrappers=(*plugin.wrappers, *again))
            subjects.append(ask(_judging(means, whole, order, who.task), plugin, pairs, order))
    labels = [row.label for row in rows] if any(row.label for row in rows) else []
    return Report(subjects, labels, (), _price(asked))


def _judging(means: Means, plugin: PluginSpec, order: str, task: str | None) -> Any:
    try:
        return means.judging("judge", plugin, order)
    except SpecError as error:
        hint = "" if task else ". With --task NAME it takes what it lacks from that task"
        raise SpecError(f"{error}{hint}") from None


def _plugin(expression: str, task: str | None) -> PluginSpec:
    """The judge that an expression names, with what follows from the task where nothing is stated."""
    from dataclasses import replace

    from apl_bench.expressions import parse
    from apl_bench.registry import ORACLES, TASKS

    plugin = parse(expression)
    if task is None:
        return plugin
    defaults = ORACLES.load(plugin.name).defaults("judge", TASKS.load(task))
    return replace(plugin, params={**defaults, **plugin.params})


@contextmanager
def _asking(asked: AskingOptions) -> Iterator[Means]:
    """The means to ask; what was spent is said on stderr, since stdout may be read by a program."""
    with redirect_stdout(sys.stderr), opened(asked) as means:
        yield means


def _price(asked: AskingOptions) -> Price | None:
    from apl_bench.asking.prices import parse_price

    return None if asked.price is None else parse_price(asked.price)


def _draw(report: Report, path: Path, is_asked: bool) -> None:
    """Draw the figure; without matplotlib say so, and fail only where a figure was asked for."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        click.echo(INSTALL_PLOTS, err=True)
        if is_asked:
            raise click.exceptions.Exit(1)
        return
    from apl_bench.report.health_figure import draw_health

    path.parent.mkdir(parents=True, exist_ok=True)
    for note in draw_health(report, path):
        click.echo(f"note: {safe(note)}", err=True)
    click.echo(f"figure: {safe(path)}", err=True)
