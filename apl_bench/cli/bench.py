"""apl-bench bench: speed and memory, side by side with what users would pick instead."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apl_bench.benchmarks.results import MANNER, RATIO_COLUMNS, Report, Result, heading_of
from apl_bench.benchmarks.suites import SHAPES, SUITES, known, load
from apl_bench.cli.compare import INSTALL_PLOTS
from apl_bench.cli.console import heading, safe, safe_lines, table
from apl_bench.spec import nearest
from apl_bench.types import JSON

if TYPE_CHECKING:
    from apl_bench.benchmarks.shapes import Shape

MARKDOWN, DATA, FIGURE = "bench.md", "bench.json", "bench.png"


@dataclass(frozen=True)
class Options:
    """How to measure: the shapes by name, turns that count, CPU threads, device and type, and what is told beside."""

    shapes: tuple[str, ...]
    repeats: int
    threads: int
    device: str | None
    dtype: str
    profile: bool
    plain_allocator: bool


def _epilog() -> str:
    width = max(map(len, SUITES))
    lines = [f"  {name:{width}}  {suite.summary}" for name, suite in SUITES.items()]
    return "\b\nSuites:\n" + "\n".join(lines) + f"\n\n\b\nShapes: {', '.join(SHAPES)}"


@click.command("bench", epilog=_epilog())
@click.argument("suites", nargs=-1)
@click.option("--shape", "shapes", multiple=True, default=("lite",), show_default=True,
              help="The model's size and the lengths; may be repeated.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True,
              help="Turns of each contender that count, after one that does not.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="CPU threads, for all.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where.  [default: cuda where there is one]")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True,
              help="What models compute in, as policy.dtype of a preset.")  # fmt: skip
@click.option("--profile", is_flag=True, help="Also print where the time of one of our turns goes, by operator.")
@click.option("--plain-allocator", is_flag=True, help="Leave the C library's allocator as it is, for all.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("bench"), show_default=True,
              help=f"Folder for {MARKDOWN}, {DATA} (every turn's seconds) and {FIGURE}.")  # fmt: skip
def bench(suites: tuple[str, ...], out: Path, **options: Any) -> None:
    """Measure SUITES (all of them by default) and write a table and a figure.

    Figures are ratios within one run: contenders take turns in one process, on the same threads, and each turn is
    compared with its neighbours. Do not compare seconds of different runs or machines.
    """
    chosen = Options(**options)
    names = known(suites)
    for shape in chosen.shapes:
        if shape not in SHAPES:
            raise nearest(shape, "shape", SHAPES)
    run(names, chosen, out)


def run(names: Sequence[str], options: Options, out: Path) -> Report:
    """Measure, print each result as it comes, and keep all of them in `out`."""
    from apl_bench.benchmarks.machine import Settled, environment

    settled = Settled.of(options.device, options.threads, not options.plain_allocator)
    out.mkdir(parents=True, exist_ok=True)
    shapes = [shape_called(name, settled.device, options.dtype) for name in options.shapes]
    measured_on = environment(settled, options.dtype)
    click.echo("\n".join(f"{name}: {safe(value)}" for name, value in measured_on.items()))
    report = Report(measured_on, _used(names, shapes), ())
    for result in measure(names, shapes, options):
        _tell(result)
        report = replace(report, results=(*report.results, result))
        (out / MARKDOWN).write_text(report.to_markdown(), encoding="utf-8")
        (out / DATA).write_text(report.to_json(), encoding="utf-8")
    _conclude(report, out)
    return report


def shape_called(name: str, device: str, dtype: str) -> Shape:
    """The shape, on the device."""
    from apl_bench.benchmarks.shapes import SHAPES as BUILDERS

    return replace(BUILDERS[name](), device=device, mixed=dtype == "bfloat16")


def measure(names: Sequence[str], shapes: Sequence[Shape], options: Options) -> Iterator[Result]:
    """Each suite, on each shape where that matters."""
    from apl_bench.benchmarks.plan import Plan

    for name in names:
        for shape in shapes if SUITES[name].has_shape else shapes[:1]:
            yield from load(name)(Plan(shape, options.repeats, options.profile))
            gc.collect()  # models of the last suite, before the next one builds its own


def _used(names: Sequence[str], shapes: Sequence[Shape]) -> Mapping[str, JSON]:
    used = any(SUITES[name].has_shape for name in names)
    return {shape.name: shape.summary for shape in shapes} if used else {}


def _tell(result: Result) -> None:
    click.echo(f"\n{heading(heading_of(result))}\n{table(result.columns, result.rows)}")
    if result.profile:
        click.echo(safe_lines(result.profile))


def _conclude(report: Report, out: Path) -> None:
    """All ratios together, the figure, and what was written."""
    written = [MARKDOWN, DATA]
    if report.races:
        click.echo(f"\n{heading('ratios')}\n{table(RATIO_COLUMNS, report.ratio_rows)}")
        if find_spec("matplotlib") is None:
            click.echo(f"\nno {FIGURE}: {INSTALL_PLOTS}")
        else:
            from apl_bench.cli.bench_figure import draw

            draw(report, out / FIGURE)
            written.append(FIGURE)
        click.echo("\n" + "\n".join(MANNER))
    click.echo("\n" + "\n".join(f"wrote {out / name}" for name in written))
