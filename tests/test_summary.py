"""result.json from recorded rows, against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from apl_bench.summary import repetition, summarise_step, summarise_waypoint


def comparison(verdict: str, text: str, tokens: int, logps: tuple[float, float]) -> dict[str, Any]:
    policy = {"text": text, "token_ids": [1] * tokens, "finished": False}
    return {"kind": "comparison", "verdict": verdict, "swapped": False, "policy": policy, "policy_logp": logps[0],
            "reference_logp": logps[1]}  # fmt: skip


def label(verdict: str, margin: float, swapped: bool) -> dict[str, Any]:
    return {"kind": "label", "verdict": verdict, "margin": margin, "swapped": swapped}


def test_a_waypoint_by_hand() -> None:
    rows = [
        {"kind": "waypoint", "num_labels": 64},
        comparison("first", "a b c", 3, (-3.0, -5.0)),
        comparison("second", "a b a b", 5, (-4.0, -4.5)),
        comparison("tie", "a b c", 3, (-2.0, -2.0)),
        comparison("invalid", "x", 1, (-1.0, -2.5)),
        {"kind": "human", "num_tokens": 3, "logp": -6.0},
        {"kind": "human", "num_tokens": 1, "logp": -2.0},
    ]
    found = summarise_waypoint(64, rows)
    assert (found["wins"], found["losses"], found["ties"], found["invalid"]) == (1, 1, 1, 1)
    assert found["win_rate"] == (1 + 0.5) / 3
    assert (found["win_rate_worst"], found["win_rate_best"]) == (1.5 / 4, 2.5 / 4)
    assert found["kl"] == (2.0 + 0.5 + 0.0 + 1.5) / 4
    assert found["mean_length"] == 3.0
    assert found["distinct"] == 3 / 4
    assert found["repetition"] == pytest.approx((0 + 1 / 3 + 0 + 0) / 4)
    assert found["perplexity"] == pytest.approx(math.exp(8 / 4))


def test_a_waypoint_without_a_valid_verdict_has_no_win_rate() -> None:
    assert summarise_waypoint(0, [comparison("invalid", "a", 1, (0.0, 0.0))])["win_rate"] is None


def test_figure_3_gives_the_label_and_not_the_first_completion_its_probability() -> None:
    """sigmoid(margin) where the first won, sigmoid(-margin) where the second did: under 0.5 is confidently wrong."""
    head = {"kind": "step", "step": 1, "num_generated": 7, "num_scored": 9, "diagnostics": {}}
    rows = [head, label("first", math.log(3), swapped=False), label("second", math.log(3), swapped=True),
            label("tie", 1.0, swapped=False), label("invalid", 1.0, swapped=False)]  # fmt: skip
    found = summarise_step(rows)
    assert found["probability_of_label"] == pytest.approx([0.75, 0.25])
    assert (found["num_pairs"], found["num_preferences"], found["ties"], found["invalid"]) == (4, 2, 1, 1)


@pytest.mark.parametrize(("verdict", "swapped", "wins"), [
    ("first", False, 1), ("first", True, 0), ("second", False, 0), ("second", True, 1),
])  # fmt: skip
def test_position_wins_are_counted_in_the_order_shown(verdict: str, swapped: bool, wins: int) -> None:
    head = {"kind": "step", "step": 1, "num_generated": 0, "num_scored": 0, "diagnostics": {}}
    assert summarise_step([head, label(verdict, 0.0, swapped)])["first_shown_wins"] == wins


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0.0), ("great", 0.0), ("good film good film", 1 / 3), ("great great great", 1 / 2), ("a b c d", 0.0)],
)
def test_repetition_is_the_share_of_bigrams_seen_before(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)
