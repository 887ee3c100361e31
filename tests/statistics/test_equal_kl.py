"""Outcomes at equal KL: what lies on a known curve is found on it, wherever waypoints are, and nothing beyond them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.statistics.equal_kl import LADDER, outcomes_at, reached_by_all

distances = st.lists(st.floats(0.1, 80), min_size=2, max_size=6)


def on_a_curve(kl_W: list[float], slope: float) -> np.ndarray:
    """One seed, three prompts, whose rates are straight in the root of KL."""
    return np.array([[[slope * math.sqrt(kl) + prompt for prompt in (0, 0.1, 0.2)]] for kl in kl_W])


@given(distances, st.floats(-1, 1))
def test_a_curve_that_is_straight_in_the_root_is_read_without_error(further: list[float], slope: float) -> None:
    kl_W = [0.0, *sorted(further)]
    kl_WR = np.array(kl_W)[:, None]
    for nats in reached_by_all(kl_WR):
        found = outcomes_at(on_a_curve(kl_W, slope), kl_WR, nats)
        assert found.shape == (1, 3)
        assert found[0] == pytest.approx([slope * math.sqrt(nats) + prompt for prompt in (0, 0.1, 0.2)])


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(4, 90)), min_size=1, max_size=4),
       st.lists(st.tuples(st.floats(0, 4), st.floats(4, 90)), min_size=1, max_size=4))  # fmt: skip
def test_only_what_every_seed_of_both_has_reached_is_read(
    ours: list[tuple[float, float]], theirs: list[tuple[float, float]]
) -> None:
    """From the last first waypoint to the first last one."""
    first, last = max(low for low, _ in ours + theirs), min(high for _, high in ours + theirs)
    expected = [nats for nats in LADDER if math.sqrt(first) <= math.sqrt(nats) <= math.sqrt(last)]
    assert reached_by_all(*(np.array(ends).T for ends in (ours, theirs))) == expected


def test_what_goes_back_or_below_zero_counts_as_where_it_has_been() -> None:
    """KL is estimated: one seed's -0.1 is 0, and its way from 4 back to 3 is no way."""
    kl_WR = np.array([[-0.1], [4.0], [3.0], [9.0]])
    y_WRP = np.array([[[0.0]], [[0.4]], [[0.5]], [[1.0]]])
    assert outcomes_at(y_WRP, kl_WR, 1.0)[0, 0] == pytest.approx(0.2)  # half of the way to the root of 4
    assert outcomes_at(y_WRP, kl_WR, 4.0)[0, 0] == pytest.approx(0.4)  # the first time counts
    assert outcomes_at(y_WRP, kl_WR, 5.0)[0, 0] == pytest.approx(0.5 + 0.5 * (math.sqrt(5) - 2))


def test_an_invalid_verdict_at_either_waypoint_is_invalid_between() -> None:
    y_WRP = np.array([[[0.0, math.nan, 0.0]], [[1.0, 1.0, math.nan]]])
    found = outcomes_at(y_WRP, np.array([[0.0], [4.0]]), 1.0)
    assert found[0, 0] == 0.5
    assert np.isnan(found[0, 1:]).all()


def test_beyond_the_ends_there_is_nothing() -> None:
    kl_WR = np.array([[0.0, 0.0], [4.0, 9.0]])
    with pytest.raises(ValueError, match=r"a KL of 5\.0 nats lies beyond"):
        outcomes_at(np.zeros((2, 2, 1)), kl_WR, 5.0)
    assert reached_by_all(kl_WR) == [0.5, 1, 2, 3, 4]
    assert reached_by_all(np.array([[0.0], [math.nan]])) == []
