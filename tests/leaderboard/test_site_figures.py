"""Drawings by hand, and the benchmark of the site, small."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.benchmarks.site import of_layout
from apl_bench.leaderboard.site.figures import Axis, axis_over, curves_of, interval_of, on


def point(num_labels: int, rate: float | None, **more: Any) -> dict[str, Any]:
    return {"num_labels": num_labels, "win_rate": rate, "se_two_way": 0.01, "interval": None, **more}


def test_an_interval_is_the_stated_one_or_two_errors_wide_or_none() -> None:
    assert interval_of(point(8, 0.7, interval=[0.65, 0.74])) == (0.65, 0.7, 0.74)
    assert interval_of(point(8, 0.7)) == pytest.approx((0.68, 0.7, 0.72))
    assert interval_of(point(8, 0.7, se_two_way=None)) == (0.7, 0.7, 0.7)
    assert interval_of(point(8, None)) is None


def test_one_axis_for_a_table_with_round_ends_within_0_and_1() -> None:
    axis = axis_over([(0.68, 0.7, 0.72), None, (0.81, 0.9, 1.05)])
    assert axis
    assert (axis.low, axis.high) == (0.65, 1.0)
    assert axis_over([None]) is None
    assert on(None, (0.1, 0.2, 0.3)) is None
    place = on(axis, (0.65, 0.825, 1.0))
    assert place
    assert (place.low, place.mid, place.high) == (3.0, 76.0, 149.0)


@given(st.floats(0, 0.98), st.floats(0.011, 0.9))
def test_ticks_are_few_round_and_on_the_axis(low: float, width: float) -> None:
    axis = Axis(low, low + width, 0, 100)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-9 <= tick <= low + width + 1e-9 for tick in ticks)


def comparison(**curves: list[float | None]) -> dict[str, Any]:
    rows = [{"strategy": name, "curve": [point(128 * w, rate) for w, rate in enumerate(rates)]}
            for name, rates in curves.items()]  # fmt: skip
    return {"rows": rows}


def test_curves_end_where_the_numbers_do_and_their_names_do_not_overlap() -> None:
    found = curves_of(comparison(a=[0.5, 0.7], b=[0.5, 0.701], c=[0.5, 0.699]))
    assert found
    assert [curve.name for curve in found.curves] == ["b", "a", "c"]
    places = [curve.name_y for curve in found.curves]
    assert all(after - before >= 13 for before, after in pairwise(places))
    assert [text for _, text in found.x_ticks] == ["0", "128"]
    assert len({curve.colour for curve in found.curves}) == 3


def test_a_missing_point_is_left_out_and_a_single_one_draws_nothing() -> None:
    found = curves_of(comparison(a=[0.5, None, 0.7], b=[None, None, 0.6]))
    assert found
    assert [curve.name for curve in found.curves] == ["a"]
    assert len(found.curves[0].line.split()) == 2
    assert curves_of(comparison(a=[0.7])) is None


def test_the_benchmark_builds_what_it_says(tmp_path: Path) -> None:
    tables, rows, *_ = of_layout(tmp_path, 3, 2)
    assert (tables, rows) == ("2", "12")
