"""Accuracy, Brier score and calibration error of the implicit reward, and the correlation of scores with errors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.statistics.calibration import calibration, score_error_correlation


def test_by_hand() -> None:
    # .92 and .91 right, in the bin .90 to .95; .08 wrong with confidence .92, in the same bin; .55 right, in .55 to .60
    found = calibration([0.92, 0.91, 0.08, 0.55, 0.5])
    assert found is not None
    assert found.num == 4
    assert found.accuracy == 3 / 4
    assert found.brier == pytest.approx((0.08**2 + 0.09**2 + 0.92**2 + 0.45**2) / 4)
    # bin of three: confidence (.92 + .91 + .92) / 3, accuracy 2/3, a gap of .25 * 3 in sum; bin of one: .45
    assert found.error == pytest.approx((abs(0.92 + 0.91 + 0.92 - 2) + 0.45) / 4)


def test_without_a_prediction_there_is_nothing_to_calibrate() -> None:
    assert calibration([]) is None
    assert calibration([0.5, 0.5]) is None


def test_a_reward_that_is_sure_and_right_or_sure_and_wrong() -> None:
    right, wrong = calibration([1.0, 1.0]), calibration([0.0])
    assert right is not None
    assert wrong is not None
    assert (right.accuracy, right.brier, right.error) == (1, 0, 0)
    assert (wrong.accuracy, wrong.brier, wrong.error) == (0, 1, 1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_they_are_shares(probabilities: list[float]) -> None:
    found = calibration(probabilities)
    if found:
        assert 0 <= found.accuracy <= 1
        assert 0 <= found.brier <= 1
        assert 0 <= found.error <= 1 + 1e-12


def test_the_correlation_is_of_ranks() -> None:
    # errors where the score is high: ranks 1, 2, 3, 4 against 1.5, 1.5, 3.5, 3.5: 4 / sqrt(5 * 4)
    expected = 4 / math.sqrt(20)
    assert score_error_correlation([0.1, 0.2, 30, 400], [False, False, True, True]) == pytest.approx(expected)
    assert score_error_correlation([0.1, 0.2, 30, 400], [True, True, False, False]) == pytest.approx(-expected)
    assert score_error_correlation([1, 1], [True, False]) is None
    assert score_error_correlation([1, 2], [True, True]) is None
