"""judge-report over recorded runs: what is read without asking, put together, refused, and asked of another judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.reported import EXACT, FIRST, NOISY, Write, call, report, texts

# Recorded runs


def test_a_run_is_read_without_asking_anybody(judged: Write, tmp_path: Path) -> None:
    path = judged(EXACT, FIRST)
    done = call(path)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "cache").exists()  # no ledger was opened
    oracle, judge = report(path)["judges"]
    assert (oracle["part"], judge["part"]) == ("oracle", "judge")
    # 8 labels: of the pairs of both steps those with as many words on both sides are ties
    words = [[len(side.text.split()) for side in (item.first, item.second)] for item in (*texts(4, 1), *texts(4, 2))]
    num_ties = sum(first == second for first, second in words)
    assert oracle["ties"]["value"] == num_ties / 8
    assert oracle["length"]["longer"]["value"] == 1.0
    assert judge["position"]["first"]["value"] == 1.0
    assert judge["position"]["first"]["num_items"] == judge["num_asked"]
    assert judge["position"]["first_p"] == pytest.approx(2 / 2 ** judge["num_asked"])
    assert judge["num_pairs"] == 12


def test_what_was_not_asked_is_said_and_never_a_zero(judged: Write) -> None:
    path = judged(EXACT, EXACT)
    judge = report(path)["judges"][1]
    assert "no question was asked twice" in judge["repeats"]["missing"]
    assert "no pair was shown in both orders" in judge["position"]["same"]["missing"]
    done = call(path)
    assert "not known: same verdict when asked again: no question was asked twice" in done.stdout
    assert "no usage recorded" in done.stdout
    assert "as labelled" not in done.stdout


def test_recorded_repeats_and_both_orders_are_taken_apart(judged: Write) -> None:
    judge = report(judged(EXACT, f"repeat(2, {NOISY})", order="both"))["judges"][1]
    several = judge["num_asked"]
    assert judge["cost"]["calls"] == 4 * several
    # askings that could be read: at most two questions of two askings, and two repeats in both orders
    assert 0 < judge["repeats"]["num_items"] <= 2 * several
    assert 0 < judge["position"]["same"]["num_items"] <= 2 * several
    assert 0 < judge["position"]["same"]["value"] < 1
    assert judge["calibration"]["confirmed"]["num_items"] > 0
    assert judge["order"] == "both"


def test_answers_are_those_inside_the_innermost_wrapper_that_asks_several(judged: Write) -> None:
    """position_bias(1) inside: each answer names the first place, so that swapping turns every verdict."""
    judge = report(judged(EXACT, f"both_orders({FIRST})"))["judges"][1]
    assert judge["position"]["same"]["value"] == 0.0
    assert judge["position"]["num_firsts"] == judge["num_asked"]
    assert judge["ties"]["value"] == 1.0  # of the verdicts: FIRST in both orders is a tie


def test_runs_with_the_same_judge_are_put_together_and_shared_pairs_count_once(judged: Write, tmp_path: Path) -> None:
    judged(EXACT, EXACT, seed=0)
    judged(EXACT, EXACT, seed=4)  # the shift of the texts goes by fours
    judged(EXACT, FIRST, seed=8)
    found = report(tmp_path / "runs")
    parts = [(judge["part"], judge["num_pairs"], judge["num_asked"]) for judge in found["judges"]]
    once = report(next((tmp_path / "runs").glob("seed-000*")))["judges"]
    assert parts == [("oracle", 24, once[0]["num_asked"]), ("judge", 24, once[1]["num_asked"]),
                     ("judge", 12, once[1]["num_asked"])]  # fmt: skip
    both = next(each for each in found["agreements"] if each["judges"] == [2, 3])
    assert both["same"]["num_items"] == once[1]["num_asked"]
    assert (tmp_path / "runs" / "judge-report.png").exists() is False  # --json draws nothing


def test_an_unsound_judge_is_said_to_be(judged: Write) -> None:
    path = judged(EXACT, NOISY)
    judge = report(path)["judges"][1]
    assert judge["invalid"]["value"] > 0.01
    assert not judge["sound"]
    assert "UNSOUND" in call(path).stdout


def test_a_run_that_goes_on_is_read_as_far_as_it_is(judged: Write) -> None:
    path = judged(EXACT, EXACT)
    (path / "result.json").unlink()
    (path / "waypoints" / "0008.jsonl").unlink()
    assert report(path)["judges"][1]["num_pairs"] == 6
    (path / "waypoints" / "0000.jsonl").unlink()
    assert "nothing was asked" in report(path)["judges"][1]["ties"]["missing"]


def test_what_is_missing_from_a_complete_run_is_named(judged: Write) -> None:
    path = judged(EXACT, f"both_orders({EXACT})")
    records = (path / "judgments.jsonl").read_bytes().splitlines(keepends=True)
    (path / "judgments.jsonl").write_bytes(b"".join(records[:-1]))
    done = call(path)
    assert done.exit_code == 2
    assert json.loads(records[-1])["key"] in done.stderr
    (path / "waypoints" / "0008.jsonl").unlink()
    assert "waypoints/0008.jsonl is missing" in call(path).stderr


def test_another_judge_on_a_runs_comparisons(judged: Write) -> None:
    path = judged(EXACT, FIRST)
    found = report(path, "--against", EXACT, "--against", FIRST)
    assert [judge["part"] for judge in found["judges"]] == ["oracle", "judge", "against", "against"]
    same = next(each for each in found["agreements"] if each["judges"] == [2, 4])
    assert same["same"]["value"] == 1.0  # the judge that decided it, asked anew

    def rate(shift: int) -> float:
        words = [[len(side.text.split()) for side in (item.first, item.second)] for item in texts(6, shift)]
        return sum(1.0 if ours > theirs else 0.5 if ours == theirs else 0.0 for ours, theirs in words) / 6

    for each, shift in zip(found["win_rates"][:2], (3, 11), strict=True):
        assert each["judge"].startswith("simulated(")
        assert each["other"]["mean"] == pytest.approx(rate(shift))
        assert each["difference"]["mean"] == pytest.approx(each["other"]["mean"] - each["recorded"]["mean"])
    assert [each["num_labels"] for each in found["win_rates"]] == [0, 8, 0, 8]
    assert all(each["difference"]["mean"] == 0 for each in found["win_rates"][2:])


def test_a_judge_takes_what_it_lacks_from_the_runs_task(judged: Write) -> None:
    found = report(judged(EXACT, EXACT), "--against", "classifier")
    assert found["judges"][2]["judge"].startswith('classifier(model="judge")')
