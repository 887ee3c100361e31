"""What compare says beside win rates: what was acquired, judges, lengths and costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from apl_bench.judgments.record import Record
from apl_bench.types import Reply
from tests.cli.compared import Write, rows_of


def test_what_stands_beside_by_hand(compared: Write, tmp_path: Path) -> None:
    for seed in range(2):
        compared("random", seed, "wwll", probabilities=[0.9, 0.2])
    row = rows_of(tmp_path)["random"]
    acquired, point, costs = row["acquired"], row["curve"][-1], row["costs"]
    assert acquired["accuracy"] == 0.5
    assert acquired["brier"] == pytest.approx((0.1**2 + 0.8**2) / 2)
    # |margin| of .9 is ln 9 and right, of .2 is ln 4 and wrong: the higher score has the smaller error
    assert acquired["score_error_correlation"] == pytest.approx(-1)
    assert acquired["by_step"][1]["histogram"] == [0, 0, 0, 0, 2, *[0] * 13, 2, 0]
    assert acquired["share_first_shown"] == 1
    # shown swapped are b and d; won were a and b: first shown won are a, and d, which was lost
    assert point["share_first_shown"] == 0.5
    assert (costs["num_labels"], costs["num_judge_calls"], costs["cost_usd"]) == (4, 8, 0)
    assert costs["acquisition_generated_tokens"] == 400
    assert costs["seconds"] is None  # no events were recorded
    assert point["length_controlled"]["win_rate"] == pytest.approx(0.5)


def test_costs_are_summed_from_events_and_priced_judgments(compared: Write, tmp_path: Path) -> None:
    path = compared("random", 0, "wwll")
    (path / "events.jsonl").write_text(
        '{"event":"waypoint","seconds":{"sample":2.5,"oracle":0.5},"tokens":{"sample":100,"score":7}}\n'
        '{"event":"trained","seconds":{"train":1.0},"tokens":{"train":50}}\n'
    )
    listed = {"provider": "openai", "endpoint": "api.openai.com/v1/chat/completions", "model": "gpt-4.1"}
    records = [
        Record.of(
            {**listed, "text": '"usage":{}'}, Reply("A", "m", usage={"prompt_tokens": 1000, "completion_tokens": 100})
        ),
        Record.of({"provider": "apl-bench", "model": "local", "text": "b"}, Reply("A", "m")),
    ]
    (path / "judgments.jsonl").write_bytes(b"".join(record.to_line() for record in records))
    costs = rows_of(tmp_path)["random"]["costs"]
    assert (costs["seconds"], costs["generated_tokens"], costs["scored_tokens"], costs["trained_tokens"]) == (
        4.0, 100, 7, 50,
    )  # fmt: skip
    assert costs["cost_usd"] == pytest.approx(1000 * 2e-6 + 100 * 8e-6)
    unknown = Record.of({**listed, "model": "gpt-99", "text": "a"}, Reply("A", "m", usage={"prompt_tokens": 9}))
    (path / "judgments.jsonl").write_bytes(unknown.to_line())
    assert rows_of(tmp_path)["random"]["costs"]["cost_usd"] is None
