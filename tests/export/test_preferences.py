"""What an export says of a preference, against what was recorded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from apl_bench.export.preferences import PROVENANCE, acquired, schema, styled
from apl_bench.records import Run
from apl_bench.types import SpecError
from tests.export.runs import copy, relabelled
from tests.test_replay import GOLDEN


def test_every_label_of_the_golden_run_is_a_preference_in_the_order_bought() -> None:
    found = acquired(Run(GOLDEN))
    assert (found.num_labels, found.num_ties, found.num_invalid) == (8, 0, 0)
    assert [(row["step"], row["rank"]) for row in found.rows] == [(step, rank) for step in (1, 2) for rank in range(4)]
    assert {row["run"] for row in found.rows} == {Run(GOLDEN).manifest["identity"]}
    assert {row["strategy"] for row in found.rows} == {"certainty"}


def test_a_label_for_the_second_turns_texts_margin_and_probability(tmp_path: Path) -> None:
    def change(row: dict[str, Any]) -> None:
        verdict = "first" if row["rank"] == 0 else "second"
        row |= {"verdict": verdict, "margin": 0.5, "p_first": 0.9}

    recorded = relabelled(tmp_path / "run", change)
    first, second = acquired(recorded).rows[4:6]
    for row, is_first in ((first, True), (second, False)):
        label = next(item for item in recorded.all_step_rows(2) if item.get("rank") == row["rank"])
        candidate = next(item for item in recorded.all_step_rows(2) if item.get("prompt_id") == row["prompt_id"])
        texts = [candidate["completions"][label[side]]["text"] for side in ("first", "second")]
        assert [row["chosen"], row["rejected"]] == (texts if is_first else texts[::-1])
        assert row["prompt"] == candidate["prompt"]
        sides = ("first", "second") if is_first else ("second", "first")
        tokens = [candidate["completions"][label[side]]["token_ids"] for side in sides]
        assert [row["chosen_token_ids"], row["rejected_token_ids"]] == tokens
        assert row["judgment_keys"] == label["keys"]
    assert (first["margin"], second["margin"]) == (0.5, -0.5)
    assert first["probability"] == pytest.approx(1 / (1 + math.exp(-0.5)))
    assert second["probability"] == pytest.approx(1 / (1 + math.exp(0.5)))
    assert (first["p_chosen"], second["p_chosen"]) == (0.9, pytest.approx(0.1))


def test_probabilities_are_those_of_the_result() -> None:
    run = Run(GOLDEN)
    found = [[row["probability"] for row in acquired(run).rows if row["step"] == step] for step in (1, 2)]
    assert found == [step["probability_of_label"] for step in run.result["steps"]]


def test_ties_and_unreadable_labels_are_counted_and_left_out(tmp_path: Path) -> None:
    def change(row: dict[str, Any]) -> None:
        row["verdict"] = ("tie", "invalid", "invalid", "first")[row["rank"]]

    found = acquired(relabelled(tmp_path / "run", change))
    assert (len(found.rows), found.num_labels, found.num_ties, found.num_invalid) == (5, 8, 1, 2)
    assert [row["rank"] for row in found.rows] == [0, 1, 2, 3, 3]


def test_an_oracle_without_probabilities_leaves_them_empty(tmp_path: Path) -> None:
    found = acquired(relabelled(tmp_path / "run", lambda row: row.update(p_first=None)))
    assert [row["p_chosen"] for row in found.rows[4:]] == [None] * 4


def test_half_a_surrogate_is_refused_by_its_place(tmp_path: Path) -> None:
    run = copy(tmp_path / "run")
    path = run.path / "steps" / "0001.jsonl"
    row = acquired(run).rows[0]
    path.write_text(path.read_text().replace(row["chosen"], "\\ud800"))
    with pytest.raises(SpecError, match=rf"step 1: the chosen for {row['prompt_id']} is no Unicode text"):
        acquired(run)


def test_conversations_hold_the_same_texts() -> None:
    row = acquired(Run(GOLDEN)).rows[0]
    told = styled(row, "conversational")
    assert told["prompt"] == [{"role": "user", "content": row["prompt"]}]
    assert told["chosen"] == [{"role": "assistant", "content": row["chosen"]}]
    assert told["rejected"] == [{"role": "assistant", "content": row["rejected"]}]
    assert {name: told[name] for name in row if name not in ("prompt", "chosen", "rejected")} == {
        column.name: row[column.name] for column in PROVENANCE
    }
    assert list(styled(row, "plain")) == schema("plain").names == schema("conversational").names
