"""Families, ranks, labels saved and differences at equal KL, as compare prints them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.cli.compared import Write, call, rows_of


def four(compared: Write, num_seeds: int = 8) -> None:
    """certainty wins much, entropy as random, uncertainty less."""
    for seed in range(num_seeds):
        for strategy, outcomes in (("certainty", "wwww"), ("entropy", "wlwl"), ("random", "wlwl"), ("worse", "llll")):
            other = outcomes if seed % 2 else outcomes.replace("w", "l", 1)
            compared(strategy, seed, other if strategy in ("certainty", "random") else outcomes)


def test_holm_is_over_each_other_ranked_strategy_at_the_end(compared: Write, tmp_path: Path) -> None:
    four(compared)
    (found,) = json.loads(call(tmp_path, "--json").stdout)
    hypotheses = [{"strategy": name, "num_labels": 8} for name in ("certainty", "entropy", "worse")]
    assert found["family"] == {"alpha": 0.05, "rule": "Holm", "declared": False, "hypotheses": hypotheses}
    rows = {row["strategy"]: row["curve"] for row in found["rows"]}
    last = {name: rows[name][-1]["difference"] for name in ("certainty", "entropy", "worse")}
    assert last["certainty"]["p"] == 2 / 2**8
    assert last["certainty"]["p_holm"] == pytest.approx(3 * 2 / 2**8)
    assert rows["certainty"][0]["difference"]["p_holm"] is None  # not of the family


def test_a_declared_family_is_taken_as_it_is(compared: Write, tmp_path: Path) -> None:
    four(compared)
    arguments = ("--hypothesis", "certainty", "--hypothesis", "certainty@0", "--hypothesis", "mid")
    (found,) = json.loads(call(tmp_path, "--json", *arguments).stdout)
    assert found["family"]["declared"]
    rows = {row["strategy"]: row["curve"] for row in found["rows"]}
    assert rows["certainty"][-1]["difference"]["p_holm"] == pytest.approx(3 * 2 / 2**8)
    assert rows["certainty"][0]["difference"]["p_holm"] == 1
    assert rows["worse"][-1]["difference"]["p_holm"] is None
    assert "mid at 8 labels was declared and has no run here: it counts" in " ".join(found["notes"])
    file = tmp_path / "family.json"
    file.write_text(json.dumps(found))
    (again,) = json.loads(call(tmp_path, "--json", "--family", file).stdout)
    assert again == found


@pytest.mark.parametrize(
    ("declared", "near"), [("certanty", "certainty"), ("wrose", "worse"), ("certanty@8", "certainty")]
)
def test_a_mistyped_hypothesis_is_answered_with_the_nearest(
    compared: Write, tmp_path: Path, declared: str, near: str
) -> None:
    """Of the strategies that there are and those that have runs here: a name of neither is no declaration."""
    four(compared, 1)
    done = call(tmp_path, "--no-figures", "--hypothesis", declared)
    assert done.exit_code == 2
    name = declared.partition("@")[0]
    assert f"no strategy called '{name}'. Did you mean '{near}'? There are: certainty, entropy" in done.stderr


def test_a_strategy_that_exists_may_be_declared_with_parameters_and_without_runs(
    compared: Write, tmp_path: Path
) -> None:
    four(compared, 1)
    done = call(tmp_path, "--no-figures", "--hypothesis", "mid(width=0.3)")
    assert "mid(width=0.3) at 8 labels was declared and has no run here" in done.stdout


def test_a_family_at_labels_without_an_evaluation_is_refused(compared: Write, tmp_path: Path) -> None:
    four(compared, 1)
    done = call(tmp_path, "--hypothesis", "certainty@4")
    assert done.exit_code == 2
    assert "certainty at 4 labels, where nothing was evaluated; expected one of 0, 8" in done.stderr
    assert call(tmp_path, "--hypothesis", "random").exit_code == 2
    assert call(tmp_path, "--hypothesis", "certainty", "--family", __file__).exit_code == 2


def test_too_few_seeds_for_the_family_is_said(compared: Write, tmp_path: Path) -> None:
    four(compared, 6)
    shown = call(tmp_path, "--no-figures").stdout
    assert "with 6 seeds no p is below 0.031, and for 3 hypotheses Holm's correction asks 0.017 of the first" in shown
    assert "before there are 7 seeds" in shown


def test_one_is_not_many(compared: Write, tmp_path: Path) -> None:
    four(compared, 1)
    shown = call(tmp_path, "--no-figures", "--hypothesis", "certainty").stdout
    assert "with 1 seed no p is below 1, and for 1 hypothesis Holm's correction asks 0.05" in shown
    assert "corrected for 1 hypothesis (as declared)" in shown
    assert "with 1 seed no strategy is put ahead" in shown


@pytest.mark.parametrize("num_seeds", [1, 2, 5, 6])
def test_ranks_and_p_values_agree_on_how_few_seeds_say_nothing(compared: Write, tmp_path: Path, num_seeds: int) -> None:
    """Four strategies as far apart as can be: below six seeds none is ahead, as none is significant."""
    four(compared, num_seeds)
    ranks = {name: row["rank"] for name, row in rows_of(tmp_path).items()}
    shown = call(tmp_path, "--no-figures").stdout
    assert (set(map(tuple, ranks.values())) == {(1, 4)}) is (num_seeds < 6)
    assert ("no strategy is put ahead of another: that takes 6 seeds" in shown) is (num_seeds < 6)


def test_a_strategy_that_is_shown_without_a_rank(compared: Write, tmp_path: Path) -> None:
    four(compared)
    (found,) = json.loads(call(tmp_path, "--json", "--unranked", "worse").stdout)
    rows = {row["strategy"]: row for row in found["rows"]}
    assert list(rows)[-1] == "worse"
    assert rows["worse"]["rank"] is None
    assert not rows["worse"]["ranked"]
    assert [one["strategy"] for one in found["family"]["hypotheses"]] == ["certainty", "entropy"]
    done = call(tmp_path, "--unranked", "wrose")
    assert done.exit_code == 2
    assert "'wrose' has no run here. There are: certainty, entropy, random, worse" in done.stderr


def test_labels_are_counted_to_a_stated_rate_or_to_randoms_last(compared: Write, tmp_path: Path) -> None:
    four(compared)
    rows = rows_of(tmp_path)
    # random goes from 1/2 to 3/8 in the mean, so that it begins above where it ends, and others with it
    assert rows["certainty"]["labels_to_target"]["target"] == 0.375
    assert rows["certainty"]["labels_to_target"]["num_labels"] == 0
    assert rows["certainty"]["labels_saved"]["num_labels"] == 8
    assert rows["random"]["labels_saved"] is None
    (found,) = json.loads(call(tmp_path, "--json", "--target", "0.75").stdout)
    needed = {row["strategy"]: row["labels_to_target"] for row in found["rows"]}
    # certainty: .5 to .875, two thirds of the way
    assert needed["certainty"]["num_labels"] == pytest.approx(8 * 2 / 3)
    assert needed["random"]["num_labels"] is None
    assert needed["random"]["censored"]
    assert needed["random"]["interval"][1] is None


def test_labels_saved_are_for_the_target_that_stands_beside_them(compared: Write, tmp_path: Path) -> None:
    """certainty: .5 to .875 of 8 labels; random: .5 to .375, so that .45 is where both begin and .75 beyond it."""
    four(compared)
    for target, needed, saved, text in ((0.45, 0, 0, "0"), (0.75, 8 * 2 / 3, None, ">2")):
        (found,) = json.loads(call(tmp_path, "--json", "--target", target).stdout)
        row = next(row for row in found["rows"] if row["strategy"] == "certainty")
        assert row["labels_to_target"]["target"] == row["labels_saved"]["target"] == target
        assert row["labels_to_target"]["num_labels"] == pytest.approx(needed)
        assert row["labels_saved"]["num_labels"] == saved
        done = call(tmp_path, "--no-figures", "--details", "--target", target).stdout
        assert f"fewer than random needs for a win rate of {target}" in done
        (main, labels) = (line for line in done.splitlines() if f"{text} (" in line and "certainty" in line)
        assert main.split("  ")[-1].strip() == labels.split("  ")[-1].strip()
    assert "its last win rate" not in done
    assert ">" not in done.split("worse")[1].splitlines()[0]  # neither of the two is ever there: a dash


def test_differences_at_equal_kl_by_hand(compared: Write, tmp_path: Path) -> None:
    """KL goes from 0 to 8 (seed 0) and from 1 to 9 (seed 1): the root of 2 is half of the way, and .207 of it."""
    for seed in range(2):
        compared("certainty", seed, "wwww")
        compared("random", seed, "llll")
    row = rows_of(tmp_path)["certainty"]
    at = {found["kl"]: found for found in row["at_equal_kl"]}
    assert list(at) == [1, 2, 3, 4, 5, 7]  # not 0.5, where seed 1 begins further away, nor 10, where seed 0 never was
    assert at[2]["mean"] == pytest.approx((0.5 + (math.sqrt(2) - 1) / 2) / 2)
    assert (at[2]["num_seeds"], at[2]["p"], at[2]["p_holm"]) == (2, 0.5, None)
    assert rows_of(tmp_path)["random"]["at_equal_kl"] == []
    shown = call(tmp_path, "--no-figures", "--details").stdout
    heading = next(line for line in shown.splitlines() if line.startswith("minus random at a KL of"))
    assert heading.split()[-6:] == ["1", "2", "3", "4", "5", "7"]
    assert f"+{at[2]['mean']:.3f} ±{at[2]['se_two_way']:.3f}, p 0.500" in shown


def test_runs_without_kl_have_no_differences_at_equal_kl(compared: Write, tmp_path: Path) -> None:
    for strategy in ("certainty", "random"):
        path = compared(strategy, 0, "wwww") / "result.json"
        path.write_text(path.read_text().replace('"kl"', '"other"'))
    assert rows_of(tmp_path)["certainty"]["at_equal_kl"] == []
    shown = call(tmp_path, "--no-figures", "--details").stdout
    assert "at a KL of" not in shown
    assert "certainty, seed 0 and 1 other run recorded no KL at some waypoint" in shown


def test_details_print_everything_and_the_main_screen_stays_small(compared: Write, tmp_path: Path) -> None:
    four(compared)
    short, long = (call(tmp_path, "--no-figures", *more).stdout for more in ((), ("--details",)))
    for word in ("labels needed", "implicit reward", "costs a run", "length-controlled", "judge: first"):
        assert word not in short.replace("--details", "")
        assert word in long
    assert max(map(len, short.splitlines())) <= 120
    assert len(short.splitlines()) < 30
