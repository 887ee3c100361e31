"""Outcomes as letters: what is paired by prompt and seed, and by which checksums rows find each other."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.leaderboard.site.outcomes import Outcomes, Settled, array_of, letter, outcomes_of
from apl_bench.records import find_runs
from apl_bench.types import SpecError
from tests.cli.compared import write_run


def made(tmp_path: Path) -> Outcomes:
    return outcomes_of("imdb-lite", find_runs([tmp_path]))


def test_letters_by_hand() -> None:
    assert [letter(value) for value in (1.0, 0.0, 0.5, math.nan)] == list("wltx")
    np.testing.assert_array_equal(array_of(["wl", "tx"]), [[1.0, 0.0], [0.5, math.nan]])


@given(st.lists(st.text("wltx", min_size=3, max_size=3), min_size=1, max_size=5))
def test_reading_and_writing_letters_are_inverse(lines: list[str]) -> None:
    assert ["".join(map(letter, row)) for row in array_of(lines).tolist()] == lines


def test_prompts_stand_in_the_order_of_their_ids_whatever_the_files_say(tmp_path: Path) -> None:
    write_run(tmp_path, "certainty", 1, "wllt", prompts="dcba")
    write_run(tmp_path, "certainty", 0, "wwlx", prompts="abcd")
    write_run(tmp_path, "random", 0, "llll")
    found = made(tmp_path)
    assert found.rows == (Settled("certainty", {0: "wwlx", 1: "tllw"}), Settled("random", {0: "llll"}))
    assert (found.num_labels, found.num_prompts) == (8, 4)
    assert found.of("certainty") == found.rows[0]
    assert found.of("nobody") is None


def test_json_and_back(tmp_path: Path) -> None:
    write_run(tmp_path, "certainty", 7, "wllt")
    assert Outcomes.from_dict(made(tmp_path).to_dict()) == made(tmp_path)


@pytest.mark.parametrize("line", ["wll", "wllz", "WLLT"])
def test_lines_of_another_form_are_refused(tmp_path: Path, line: str) -> None:
    write_run(tmp_path, "certainty", 7, "wllt")
    fields = made(tmp_path).to_dict()
    fields["rows"][0]["outcomes"] = [line]
    with pytest.raises(SpecError, match="outcomes of certainty, seed 7: expected 4 of the letters"):
        Outcomes.from_dict(fields)


def test_strategy_seed_and_machine_keep_the_checksums_and_all_else_changes_one(tmp_path: Path) -> None:
    weights = {"weights_sha256": "a", "torch": "2.5"}
    write_run(tmp_path / "ours", "certainty", 0, "wllt", manifest={"model": weights})
    ours = made(tmp_path / "ours")

    def checksums(name: str, strategy: str = "random", seed: int = 3, **changes: object) -> tuple[bool, bool, bool]:
        write_run(tmp_path / name, strategy, seed, "llll", **{"manifest": {"model": weights}, **changes})
        other = made(tmp_path / name)
        return (
            ours.settings_sha256 == other.settings_sha256,
            ours.materials_sha256 == other.materials_sha256,
            ours.prompts_sha256 == other.prompts_sha256,
        )

    assert checksums("strategy") == (True, True, True)
    assert checksums("machine", manifest={"model": {**weights, "torch": "2.9"}}) == (True, True, True)
    assert checksums("settings", training__epochs=7) == (False, True, True)
    assert checksums("weights", manifest={"model": {**weights, "weights_sha256": "b"}}) == (True, False, True)
    assert checksums("prompts", prompts="abce") == (True, True, False)
