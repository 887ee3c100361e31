"""Figures as files: for `apl-bench compare`, and for papers beside a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from apl_bench.report.drawing import PAPER_DPI, TITLE_LETTERS, fill, save
from apl_bench.report.figures import acquired, curves, shown_steps
from apl_bench.report.results import Results

SUFFIXES = (".png", ".svg")


def draw_curves(results: Results, path: Path) -> None:
    """Learning curves with their title, to a PNG or SVG."""
    seeds = [len(arm.seeds) for arm in results.arms]
    number = f"{min(seeds)}-{max(seeds)}" if min(seeds) != max(seeds) else str(max(seeds))
    title = f"{results.name}, {number} {'seed' if number == '1' else 'seeds'}, {results.num_prompts} test prompts"
    _titled(curves(results), title, path)


def draw_acquired(results: Results, path: Path) -> list[str]:
    """What was bought by step, with its title, to a PNG or SVG; returns what a reader has to know."""
    _titled(acquired(results), f"{results.name}: what was bought, by step", path)
    num_shown, num_steps = len(shown_steps(results)), min(len(arm.acquired) for arm in results.arms)
    return [f"{path.name} shows {num_shown} of {num_steps} steps"] if num_shown < num_steps else []


def save_for_papers(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Each figure as PNG and as SVG whose text is text, without a title: a paper has its caption. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}{suffix}" for name in figures for suffix in SUFFIXES]
    for path in paths:
        save(figures[path.stem], path, PAPER_DPI)
    return paths


def _titled(figure: Figure, title: str, path: Path) -> None:
    letters = min(TITLE_LETTERS, int(figure.get_figwidth() * 11))
    figure.suptitle(fill(title, letters), fontsize=10, x=0.01, ha="left")
    save(figure, path)
