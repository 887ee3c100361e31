"""What the figures are made of; how they look is for eyes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.types import SpecError
from tests.report.made import results, row, table

pytest.importorskip("matplotlib")

from matplotlib.axes import Axes

from apl_bench.report.drawing import COLOURS, inline_svg, plain, save, spread
from apl_bench.report.figures import Axis, acquired, against, curves, differences, stages
from apl_bench.report.files import draw_acquired, draw_curves, save_for_papers
from apl_bench.report.results import Results


def lines_of(axes: Axes) -> set[tuple[float, ...]]:
    """Heights of the lines that have a marker or lie across, without the markers beside the names."""
    found = (tuple(np.asarray(line.get_ydata(), dtype=float).round(9)) for line in axes.lines)
    return {heights for heights in found if len(heights) > 1}


def names_in(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_curves_show_every_rate_its_interval_and_the_line_at_a_half() -> None:
    (axes,) = curves(results(row("certainty", 0.8), row("random", 0.7))).axes
    assert lines_of(axes) == {(0.5, 0.5), (0.5, 0.8), (0.5, 0.7)}
    assert names_in(axes) == ["random", "certainty"]
    bands = [band.get_paths()[0].get_extents() for band in axes.collections]
    assert [(band.y0, band.y1) for band in bands] == [pytest.approx((0.48, 0.82)), pytest.approx((0.48, 0.72))]


def test_differences_are_those_from_the_baseline_with_their_intervals() -> None:
    figure = differences(results(row("certainty", 0.8), row("random", 0.7)))
    assert figure is not None
    (axes,) = figure.axes
    assert names_in(axes) == ["certainty"]
    # a point at 64 labels alone, and its interval; the line across is the baseline
    assert lines_of(axes) == {(0.0, 0.0), (0.08, 0.12)}
    assert differences(results(row("certainty", 0.8, curve=row("random", 0.8)["curve"]))) is None


def test_a_colour_belongs_to_a_strategy_and_not_to_its_rank() -> None:
    found = []
    for ours, theirs in ((0.8, 0.6), (0.6, 0.8)):
        rows = sorted([row("certainty", ours), row("entropy", theirs)], key=lambda row: -row["curve"][-1]["win_rate"])
        lines = curves(results(*rows)).axes[0].lines
        colours = {float(np.asarray(line.get_ydata())[-1]): line.get_color() for line in lines}
        found.append((colours[ours], colours[theirs]))
    assert found[0] == found[1]


def test_more_than_can_be_told_apart_go_to_panels_with_random_in_each() -> None:
    rows = [row(f"s{i}", 0.9 - i / 100) for i in range(len(COLOURS) + 2)]
    first, second = curves(results(*rows, row("random", 0.5))).axes
    assert set(names_in(first)) == {*(f"s{i}" for i in range(7)), "random"}
    assert set(names_in(second)) == {"s7", "s8", "random"}
    assert first.get_ylim() == second.get_ylim()


def test_a_missing_rate_or_interval_does_not_stop_a_figure(tmp_path: Path) -> None:
    bare = [{**point, "interval": None} for point in row("random", 0.7)["curve"]]
    found = results(row("certainty", None), row("random", 0.7, curve=bare))
    draw_curves(found, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0
    axis = Axis("KL", "", {"certainty": [0.0, None], "random": [0.0, 1.0]})
    assert inline_svg(against(found, axis), "a-", "KL")


def test_win_rate_stands_against_what_it_took() -> None:
    found = results(row("certainty", 0.8), row("random", 0.7))
    (axes,) = against(found, Axis("labels", "$", {"certainty": [0, 2], "random": [0, 3]})).axes
    named = [np.column_stack(line.get_data()) for line in axes.lines if not str(line.get_label()).startswith("_")]
    assert [points[-1].tolist() for points in named] == [[2.0, 0.8], [3.0, 0.7]]


def test_histograms_are_shares_with_the_wrong_half_apart() -> None:
    first, second = acquired(results(row("certainty", 0.8))).axes
    assert names_in(first) == ["no margin yet"]
    heights = {round(bar.get_x(), 2): bar.get_height() for bar in second.patches if bar.get_height()}  # type: ignore[attr-defined]
    assert heights == {0.1: 0.25, 0.7: 0.25, 0.8: 0.25, 0.9: 0.25}
    assert names_in(second) == ["25% wrong"]
    colours = {round(bar.get_x(), 2): bar.get_facecolor() for bar in second.patches if bar.get_height()}  # type: ignore[attr-defined]
    assert colours[0.1] != colours[0.7] == colours[0.9]


def test_many_steps_are_thinned_with_the_first_and_the_last_among_them(tmp_path: Path) -> None:
    found = results(row("certainty", 0.8, num_steps=16))
    assert draw_acquired(found, tmp_path / "acquired.png") == ["acquired.png shows 6 of 16 steps"]
    titles = [axes.get_title() for axes in acquired(found).axes]
    assert (titles[0], titles[-1], len(titles)) == ("step 1", "step 16", 6)


def test_stages_are_stacked_in_one_order() -> None:
    figure = stages({"random": {"train": 3.0, "sample": 2.0}, "certainty": {"sample": 4.0, "train": 3.0}})
    bars = [(bar.get_x(), bar.get_width()) for bar in figure.axes[0].patches]  # type: ignore[attr-defined]
    assert bars == [(0, 3), (0, 3), (3, 2), (3, 4)]


def test_a_name_is_not_a_formula(tmp_path: Path) -> None:
    hostile = results(row(r"$\frac{", 0.8), row("</svg><script>alert(1)</script>", 0.6))
    draw_curves(hostile, tmp_path / "curves.png")
    draw_acquired(hostile, tmp_path / "acquired.png")
    assert plain("a$b\x1b") == r"a\$b"
    svg = inline_svg(curves(hostile), "a-", 'label "<script>')
    assert "<script" not in svg
    assert "&lt;/svg&gt;&lt;script&gt;" in svg


def test_the_same_comparison_gives_the_same_bytes(tmp_path: Path) -> None:
    found = results(row("certainty", 0.8), row("random", 0.7))
    for name in ("one", "two"):
        save_for_papers({"curves": curves(found)}, tmp_path / name)
    for suffix in ("png", "svg"):
        one, two = ((tmp_path / name / f"curves.{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
    assert b">certainty</text>" in (tmp_path / "one" / "curves.svg").read_bytes()
    assert inline_svg(curves(found), "a-", "x") == inline_svg(curves(found), "a-", "x")


def test_svg_for_a_page_has_no_style_and_refers_to_nothing_outside() -> None:
    svg = inline_svg(acquired(results(row("certainty", 0.8), row("random", 0.7))), "fig7-", "what was bought")
    assert "style=" not in svg
    assert "<style" not in svg
    assert "http" not in svg
    root = ET.fromstring(svg)
    names = [element.get("id", "") for element in root.iter() if element.get("id")]
    assert len(names) == len(set(names)) and all(name.startswith("fig7-") for name in names)  # noqa: PT018
    used = set(re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', svg))
    assert {one or other for one, other in used} == set(names)
    assert (root.get("role"), root.get("aria-label")) == ("img", "what was bought")
    assert root.get("width") is None


def test_a_comparison_of_another_schema_is_refused() -> None:
    with pytest.raises(SpecError, match="'apl-comparison/2'; expected 'apl-comparison/1'"):
        Results.read(table([], schema="apl-comparison/2"))


def test_svg_and_png_are_written(tmp_path: Path) -> None:
    figure = curves(results(row("certainty", 0.8)))
    save(figure, tmp_path / "a.svg")
    assert "<dc:date>" not in (tmp_path / "a.svg").read_text()


@given(st.lists(st.floats(0, 1), max_size=8).map(sorted), st.floats(0.01, 0.2))
def test_labels_are_a_gap_apart_and_their_centre_stays(heights: list[float], gap: float) -> None:
    placed = spread(heights, gap)
    assert len(placed) == len(heights)
    assert all(above - below >= gap - 1e-9 for below, above in pairwise(placed))
    assert sum(placed) == pytest.approx(sum(heights))


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([0.1, 0.5, 0.9], 0.05) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
