"""Logistic regression with clustered errors, and the win rate at equal length."""

from __future__ import annotations

import math

import numpy as np
import pytest

from apl_bench.statistics import estimate
from apl_bench.statistics.logistic import length_controlled, logistic


def test_without_a_slope_it_is_the_log_odds_and_its_clustered_error() -> None:
    # 3 of 4: log-odds ln 3; each row its own cluster: variance 4 * (3/4 * 1/16 + 1/4 * 9/16) / (4 * 3/16)^2 * 4/3
    y_N = np.array([1.0, 1, 1, 0])
    found = logistic(np.ones((4, 1)), y_N, (np.arange(4),))
    assert found is not None
    assert found.coefficient_K == pytest.approx([math.log(3)])
    assert found.error_K**2 == pytest.approx([(3 / 16 + 9 / 16) / (3 / 4) ** 2 * 4 / 3])


def test_equal_lengths_leave_the_win_rate_and_its_error() -> None:
    rng = np.random.default_rng(0)
    y_RP = (rng.random((6, 100)) < 0.7 + rng.normal(0, 0.05, (6, 1))).astype(float)
    found, plain = length_controlled(y_RP, np.zeros_like(y_RP)), estimate(y_RP)
    assert found is not None
    assert found.win_rate == pytest.approx(plain.mean)
    assert found.slope == 0
    assert found.se == pytest.approx(plain.se_two_way, rel=0.02)  # its covariance is put together a little otherwise


def test_what_length_alone_wins_is_taken_away() -> None:
    """Twice as long wins 3 of 4, equal wins 1 of 2: the policy is longer on two prompts of three, and no better."""
    y_RP = np.tile(np.array([1, 1, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0.0]), (4, 1))
    log_ratio_RP = np.tile(np.array([1.0] * 8 + [0.0] * 4), (4, 1))
    found = length_controlled(y_RP, log_ratio_RP)
    assert found is not None
    assert found.win_rate == pytest.approx(0.5)
    assert found.slope == pytest.approx(math.log(3))
    assert estimate(y_RP).mean == pytest.approx(8 / 12)


def test_ties_are_halves_and_invalid_verdicts_are_left_out() -> None:
    y_RP = np.array([[1, 0, 0.5, math.nan], [1, 0.5, 0, 1]])
    found = length_controlled(y_RP, np.zeros_like(y_RP))
    assert found is not None
    assert found.win_rate == pytest.approx((1 + 0 + 0.5 + 1 + 0.5 + 0 + 1) / 7)


@pytest.mark.parametrize(
    ("y_RP", "log_ratio_RP"),
    [
        (np.ones((2, 8)), np.zeros((2, 8))),
        (np.full((2, 8), math.nan), np.zeros((2, 8))),
        (np.tile([0.0, 0, 0, 1, 1, 1], (2, 1)), np.tile([-1.0, -1, -2, 1, 1, 2], (2, 1))),
        (np.array([[1.0], [0.0]]), np.zeros((2, 1))),
    ],
    ids=["one outcome", "nothing valid", "separated by length", "one prompt"],
)
def test_where_nothing_finite_fits_there_is_none(y_RP: np.ndarray, log_ratio_RP: np.ndarray) -> None:
    assert length_controlled(y_RP, log_ratio_RP) is None
