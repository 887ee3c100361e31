"""compare over run directories as they stand on disk: what is paired, refused, left out, and ranked."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from apl_bench.comparison import compare, format_seeds
from apl_bench.judgments.record import Record
from apl_bench.records import find_runs
from apl_bench.types import Reply, SpecError
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


def test_details_print_everything_and_the_main_screen_stays_small(compared: Write, tmp_path: Path) -> None:
    four(compared)
    short, long = (call(tmp_path, "--no-figures", *more).stdout for more in ((), ("--details",)))
    for word in ("labels needed", "implicit reward", "costs a run", "length-controlled", "judge: first"):
        assert word not in short.replace("--details", "")
        assert word in long
    assert max(map(len, short.splitlines())) <= 120
    assert len(short.splitlines()) < 30
