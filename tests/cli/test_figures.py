"""What the figures are made of; how they look is for eyes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.comparison import Beside, Comparison, Point, Row
from apl_bench.statistics import Estimate

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from apl_bench.cli import figures
from apl_bench.cli.figures import COLOURS, draw_acquired, draw_curves, plain, spread


def row(strategy: str, rate: float, num_steps: int = 2, error: float = 0.01) -> Row:
    curve = tuple(
        Point(num, Estimate(value, error, error, 3), None, Beside(None, None, None, None), 0.0, (value,) * 3)
        for num, value in ((0, 0.5), (64, rate))
    )
    acquired = ((0.5, 0.5), *(((0.12, 0.92, 0.82, 0.72),) * (num_steps - 1)))
    return Row(strategy, (0, 1, 2), (), curve, None, None, acquired)


def comparison(*rows: Row) -> Comparison:
    return Comparison("imdb-lite", Path(), 8, rows, ())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were drawn, to look into."""
    made: list[Figure] = []

    def make(*args: Any, **kwargs: Any) -> Figure:
        made.append(Figure(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(figures, "Figure", make)
    return made


def test_curves_show_every_rate_and_the_line_at_a_half(tmp_path: Path, drawn: list[Figure]) -> None:
    assert draw_curves(comparison(row("certainty", 0.8), row("random", 0.7)), tmp_path / "curves.png") == []
    (axes,) = drawn[0].axes
    lines = {tuple(np.asarray(line.get_ydata(), dtype=float)) for line in axes.lines}
    assert {(0.5, 0.5), (0.5, 0.8), (0.5, 0.7)} == lines
    assert [text.get_text() for text in axes.texts] == ["random", "certainty"]
    assert len(axes.collections) == 2  # bands


def test_a_colour_belongs_to_a_strategy_and_not_to_its_rank(tmp_path: Path, drawn: list[Figure]) -> None:
    for ours, theirs in ((0.8, 0.6), (0.6, 0.8)):
        rows = sorted([row("certainty", ours), row("entropy", theirs)], key=lambda row: -row.last.win_rate.mean)
        draw_curves(comparison(*rows), tmp_path / "curves.png")
    colours = [{text.get_text(): text.get_color() for text in figure.axes[0].texts} for figure in drawn]
    assert colours[0] == colours[1]


def test_more_than_can_be_told_apart_are_left_out_and_named_but_never_random(tmp_path: Path) -> None:
    rows = [row(f"s{i}", 0.9 - i / 100) for i in range(len(COLOURS) + 1)]
    (note,) = draw_curves(comparison(*rows, row("random", 0.5)), tmp_path / "curves.png")
    assert note == "curves.png shows 8 strategies; left out: s7"
    (note,) = draw_curves(comparison(*rows), tmp_path / "curves.png")
    assert note == "curves.png shows 7 strategies; left out: s7"


def test_a_missing_rate_or_error_does_not_stop_a_figure(tmp_path: Path) -> None:
    nan = float("nan")
    draw_curves(comparison(row("certainty", nan), row("random", 0.7, error=nan)), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_histograms_are_shares_with_the_wrong_half_apart(tmp_path: Path, drawn: list[Figure]) -> None:
    assert draw_acquired(comparison(row("certainty", 0.8)), tmp_path / "acquired.png") == []
    first, second = drawn[0].axes
    assert [text.get_text() for text in first.texts] == ["no margin yet"]
    heights = {round(bar.get_x(), 2): bar.get_height() for bar in second.patches if bar.get_height()}  # type: ignore[attr-defined]
    assert heights == {0.1: 0.25, 0.7: 0.25, 0.8: 0.25, 0.9: 0.25}
    assert second.texts[0].get_text() == "25% wrong"


def test_many_steps_are_thinned_with_the_first_and_the_last_among_them(tmp_path: Path, drawn: list[Figure]) -> None:
    (note,) = draw_acquired(comparison(row("certainty", 0.8, num_steps=16)), tmp_path / "acquired.png")
    assert note == "acquired.png shows 6 of 16 steps"
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert (titles[0], titles[-1], len(titles)) == ("step 1", "step 16", 6)


def test_a_name_is_not_a_formula(tmp_path: Path) -> None:
    draw_curves(comparison(row(r"$\frac{", 0.8)), tmp_path / "curves.png")
    draw_acquired(comparison(row(r"$\frac{$", 0.8)), tmp_path / "acquired.png")
    assert plain("a$b\x1b") == r"a\$b"


def test_the_same_comparison_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        draw_curves(comparison(row("certainty", 0.8), row("random", 0.7)), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@given(st.lists(st.floats(0, 1), max_size=8).map(sorted), st.floats(0.01, 0.2))
def test_labels_are_a_gap_apart_and_their_centre_stays(heights: list[float], gap: float) -> None:
    placed = spread(heights, gap)
    assert len(placed) == len(heights)
    assert all(above - below >= gap - 1e-9 for below, above in pairwise(placed))
    assert sum(placed) == pytest.approx(sum(heights))


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([0.1, 0.5, 0.9], 0.05) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
