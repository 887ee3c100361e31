"""compare over run directories as they stand on disk: what is paired, refused, left out, and ranked."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from apl_bench.comparison import compare, format_seeds
from apl_bench.records import find_runs
from apl_bench.types import SpecError
from tests.cli.compared import Write, call, rows_of


def test_numbers_by_hand(compared: Write, tmp_path: Path) -> None:
    for seed, (ours, theirs) in enumerate([("wwwl", "wwll"), ("wwwt", "wlll")]):
        compared("certainty", seed, ours, loop__waypoints=[0, 8])
        compared("random", seed, theirs)
    rows = rows_of(tmp_path)
    point = rows["certainty"]["curve"][-1]
    assert point["win_rate"] == pytest.approx((0.75 + 0.875) / 2)
    assert rows["certainty"]["seeds"] == [0, 1]
    assert point["by_seed"] == [0.75, 0.875]
    # seed differences .25 and .625: mean .4375, sd .375 / sqrt 2, two-sided p of two of the same sign 2/4
    difference = point["difference"]
    assert difference["mean"] == pytest.approx(0.4375)
    assert difference["sd_seeds"] == pytest.approx(0.375 / math.sqrt(2))
    assert difference["se_seeds"] == pytest.approx(0.375 / 2)
    assert difference["p"] == difference["p_holm"] == 0.5
    assert difference["smallest_detectable"] is None  # two seeds are never significant
    assert point["beside"] == {"kl": 8.5, "mean_length": 20.0, "repetition": 0.1, "perplexity": None}
    assert rows["certainty"]["area"]["mean"] == pytest.approx((0.5 + 0.8125) / 2)
    assert rows["certainty"]["acquired"]["share_wrong"] == 0.5
    assert rows["random"]["curve"][-1]["difference"] is None


def test_pairs_by_prompt_and_not_by_line(compared: Write, tmp_path: Path) -> None:
    compared("certainty", 0, "wllw", prompts="abcd")
    compared("random", 0, "wllw", prompts="dcba")
    difference = rows_of(tmp_path)["certainty"]["curve"][-1]["difference"]
    assert difference["mean"] == 0
    assert difference["se_two_way"] == 0
    compared("certainty", 1, "wwll", prompts="abcd")
    compared("random", 1, "wwll", prompts="dcba")
    # seed 1 disagrees on every prompt, two each way: mean 0, and an error
    again = rows_of(tmp_path)["certainty"]["curve"][-1]["difference"]
    assert again["mean"] == 0
    assert again["se_two_way"] > 0


def test_only_shared_seeds_are_paired_and_that_is_said(compared: Write, tmp_path: Path) -> None:
    for seed in range(6):
        compared("certainty", seed, "wwww" if seed != 3 else "llll")
    for seed in (0, 1, 2, 4, 9):
        compared("random", seed, "llll" if seed != 4 else "wwww")
    rows = rows_of(tmp_path)
    assert rows["certainty"]["shared_seeds"] == [0, 1, 2, 4]
    difference = rows["certainty"]["curve"][-1]["difference"]
    assert difference["num_seeds"] == 4
    assert difference["mean"] == pytest.approx((1 + 1 + 1 + 0) / 4)
    text = call(tmp_path, "--no-figures").stdout
    assert "only seeds 0-2, 4 are shared by certainty and random" in text
    assert "certainty has no rank: it has seeds 0-5, and the others are ranked on 0-2, 4, 9" in text
    assert rows["certainty"]["rank"] is None
    assert rows["random"]["rank"] == [1, 1]


def test_no_shared_seed_means_no_difference(compared: Write, tmp_path: Path) -> None:
    compared("certainty", 1, "wwww")
    compared("random", 0, "llll")
    assert rows_of(tmp_path)["certainty"]["curve"][-1]["difference"] is None
    done = call(tmp_path, "--no-figures")
    assert "no seed is shared by certainty and random" in done.stdout
    (line,) = (line.split() for line in done.stdout.splitlines() if line.split()[:2] == ["-", "certainty"])
    assert line[5:] == ["-"] * 5


def test_without_random_there_are_rates_and_no_differences(compared: Write, tmp_path: Path) -> None:
    compared("certainty", 0, "wwwl")
    done = call(tmp_path, "--no-figures")
    assert done.exit_code == 0
    assert "no run of random is among these" in done.stdout
    assert "certainty has one seed" in done.stdout


def test_runs_of_other_settings_are_a_comparison_of_their_own_named_by_what_differs(
    compared: Write, tmp_path: Path
) -> None:
    compared("certainty", 0, "wwwl", training__epochs=3)
    for strategy in ("certainty", "random"):
        compared(strategy, 0, "wwll")
    found = json.loads(call(tmp_path, "--json").stdout)
    names = {comparison["name"]: [row["strategy"] for row in comparison["rows"]] for comparison in found}
    assert names == {
        "imdb-lite (training.epochs=1)": ["certainty", "random"],
        "imdb-lite (training.epochs=3)": ["certainty"],
    }
    assert all(row["curve"][-1]["difference"] is None for row in found[1]["rows"] if row["strategy"] == "random")


def test_a_parameter_of_the_task_is_a_setting_too(compared: Write, tmp_path: Path) -> None:
    compared("certainty", 0, "wwwl", task__limit=10)
    compared("random", 0, "wwwl")
    found = json.loads(call(tmp_path, "--json").stdout)
    assert [comparison["name"] for comparison in found] == ["imdb-lite (task.limit=10)", "imdb-lite"]


@pytest.mark.parametrize(
    ("part", "key"),
    [("model", "weights_sha256"), ("model", "tokenizer_sha256"), ("data", "sha256"), ("judge", "weights_sha256")],
)
def test_other_weights_or_data_are_refused(compared: Write, tmp_path: Path, part: str, key: str) -> None:
    compared("certainty", 0, "wwwl", manifest={part: {key: "aa"}})
    compared("random", 0, "wwwl", manifest={part: {key: "bb"}})
    done = call(tmp_path)
    assert done.exit_code == 2
    assert f"{part}.{key} is 'aa' in one and 'bb' in the other" in done.stderr


def test_other_versions_are_noted(compared: Write, tmp_path: Path) -> None:
    for strategy, torch in (("certainty", "2.13"), ("random", "2.14")):
        compared(strategy, 0, "wwwl", manifest={"model": {"torch": torch, "weights_sha256": "aa"}})
    assert "model.torch is '2.13' in some runs and '2.14' in others" in call(tmp_path, "--no-figures").stdout


def test_a_strategy_that_was_edited_between_its_seeds_is_noted(compared: Write, tmp_path: Path) -> None:
    for seed in range(2):
        compared("certainty", seed, "wwwl", manifest={"strategy": {"source_sha256": str(seed)}})
        compared("random", seed, "wwwl", manifest={"strategy": {"source_sha256": "same"}})
    done = call(tmp_path, "--no-figures").stdout
    assert "the seeds of certainty were not all run with the same version and source" in done
    assert "seeds of random" not in done


def test_an_unsound_run_is_named(compared: Write, tmp_path: Path) -> None:
    compared("certainty", 0, "wwwl")
    compared("certainty", 1, "wwwl", sound=False)
    done = call(tmp_path, "--no-figures").stdout
    assert "certainty, seed 1, is unsound" in done
    assert "seed 0, is unsound" not in done


def test_presets_are_compared_apart(compared: Write, tmp_path: Path) -> None:
    for preset in ("lite", "big"):
        compared("random", 0, "wwwl", preset=preset)
    found = json.loads(call(tmp_path, "--json").stdout)
    assert [comparison["name"] for comparison in found] == ["imdb-big", "imdb-lite"]


def test_parameters_of_a_strategy_make_another_row(compared: Write, tmp_path: Path) -> None:
    compared("mid", 0, "wwwl")
    compared("mid", 0, "wwwl", params={"width": 0.5})
    assert set(rows_of(tmp_path)) == {"mid", "mid(width=0.5)"}


def test_the_same_seed_twice_is_refused(compared: Write, tmp_path: Path) -> None:
    path = compared("random", 0, "wwwl")
    copy = path.with_name("copy")
    copy.mkdir()
    for file in path.rglob("*.json*"):
        (copy / file.relative_to(path).parent).mkdir(exist_ok=True)
        (copy / file.relative_to(path)).write_bytes(file.read_bytes())
    assert "seed 0 of random is there twice" in call(tmp_path).stderr
    assert call(path, path, "--no-figures").exit_code == 0


def test_other_test_prompts_are_refused(compared: Write, tmp_path: Path) -> None:
    compared("certainty", 0, "wwwl", prompts="abcd")
    compared("random", 0, "wwwl", prompts="abce")
    assert "was evaluated on other prompts at 0 labels: 4, of which 3 are among the 4" in call(tmp_path).stderr


def test_incomplete_runs_are_left_out_and_named(compared: Write, tmp_path: Path) -> None:
    compared("random", 0, "wwwl")
    path = compared("random", 1, "wwwl", complete=False)
    done = call(tmp_path, "--json")
    assert f"left out, not complete: {path}" in done.stderr
    assert json.loads(done.stdout)[0]["rows"][0]["seeds"] == [0]


def test_nothing_complete_is_an_error(compared: Write, tmp_path: Path) -> None:
    compared("random", 1, "wwwl", complete=False)
    done = call(tmp_path)
    assert done.exit_code == 2
    assert "none of the 1 runs is complete" in done.stderr


def test_invalid_verdicts_count_for_nothing_and_are_shown(compared: Write, tmp_path: Path) -> None:
    compared("random", 0, "wwlx", sound=False)
    point = rows_of(tmp_path)["random"]["curve"][-1]
    assert point["win_rate"] == pytest.approx(2 / 3)
    assert (point["win_rate_worst"], point["win_rate_best"]) == (0.5, 0.75)
    assert point["share_invalid"] == 0.25
    shown = call(tmp_path, "--no-figures", "--details").stdout
    assert "random has no rank: 25.0 % of its verdicts at the last waypoint are invalid" in shown
    assert shown.count("unsound") == 1
    assert "random, seed 0, is unsound: over 1 % of the verdicts" in shown
    assert [line for line in shown.splitlines() if line.startswith("random") and "0.250" in line.split()]


def test_the_bounds_of_a_difference_set_invalid_verdicts_against_each_other(compared: Write, tmp_path: Path) -> None:
    """Ours 2 won, 1 lost, 1 invalid; random's 1 won, 1 lost, 2 invalid: from .5 - .75 to .75 - .25."""
    compared("certainty", 0, "wwlx")
    compared("random", 0, "wlxx")
    difference = rows_of(tmp_path)["certainty"]["curve"][-1]["difference"]
    assert (difference["worst"], difference["best"]) == (-0.25, 0.5)
    assert difference["mean"] == 0.5  # of the two prompts that both have: 0 and 1


def test_what_is_missing_is_null_and_never_ranked(compared: Write, tmp_path: Path) -> None:
    for strategy, outcomes in (("certainty", "xxxx"), ("entropy", "wlll"), ("random", "wwwl")):
        compared(strategy, 0, outcomes)
    rows = rows_of(tmp_path)
    assert rows["certainty"]["curve"][-1]["win_rate"] is None
    assert {name: row["rank"] for name, row in rows.items()} == {"random": [1, 2], "entropy": [1, 2], "certainty": None}
    assert list(rows) == ["random", "entropy", "certainty"]
    line = call(tmp_path, "--no-figures").stdout.splitlines()[5]
    assert line.split()[:3] == ["-", "certainty", "-"]
    assert (
        "certainty has no rank: its win rate at the last waypoint is missing" in call(tmp_path, "--no-figures").stdout
    )


def test_rows_are_ordered_by_win_rate_where_seeds_are_the_same(compared: Write, tmp_path: Path) -> None:
    for strategy, outcomes in (("random", "wwll"), ("certainty", "wlll"), ("entropy", "wwwl")):
        compared(strategy, 0, outcomes)
    assert list(rows_of(tmp_path)) == ["entropy", "random", "certainty"]


def test_outcomes_keep_seed_waypoint_and_prompt_apart(compared: Write, tmp_path: Path) -> None:
    for seed, outcomes in enumerate(["wlll", "wwll", "wwwl"]):
        compared("random", seed, outcomes)
    (comparison,) = compare(find_runs([tmp_path]))
    (row,) = comparison.rows
    assert row.last.win_rate.mean == pytest.approx(np.mean([0.25, 0.5, 0.75]))
    assert row.curve[0].win_rate.mean == 0.5
    assert row.acquired == ((0.5,) * 6, (0.9, 0.2) * 3)


def test_a_result_without_a_waypoint_is_refused(compared: Write, tmp_path: Path) -> None:
    path = compared("random", 0, "wwwl")
    (path / "result.json").write_text(json.dumps({"waypoints": [], "steps": []}))
    with pytest.raises(SpecError, match="lacks the waypoint of 0 labels"):
        compare(find_runs([tmp_path]))


@pytest.mark.parametrize(("seeds", "text"), [((0, 1, 2, 3), "0-3"), ((7,), "7"), ((0, 2, 3, 9), "0, 2-3, 9"), ((), "")])
def test_seeds_are_written_as_people_do(seeds: tuple[int, ...], text: str) -> None:
    assert format_seeds(seeds) == text
