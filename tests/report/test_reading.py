"""What is read of runs beside their comparison: costs by waypoint, times, judges, and which pairs are shown."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.records import Run
from apl_bench.report.costs import Taken, taken_by
from apl_bench.report.pairs import MAX_LETTERS, Stratum, marked, merged, shares, shown_of, strata_of
from apl_bench.report.reading import HeldRun, read_findings
from apl_bench.types import SpecError
from tests.report.recorded import events, write_run


def taken(path: Path) -> list[Taken]:
    run = Run(path)
    return taken_by(run, run.judgments())


def test_compute_is_of_acquisition_and_training_until_each_waypoint(tmp_path: Path) -> None:
    # two steps of 2 + 5 GFLOP and 10 + 30 tokens; the evaluations' 200 GFLOP are not in it
    first, last = taken(write_run(tmp_path))
    assert (first.flop, first.num_tokens) == (0.0, 0.0)
    assert (last.flop, last.num_tokens) == (14e9, 80.0)


def test_a_step_that_was_begun_again_counts_once_and_by_its_newest_events(tmp_path: Path) -> None:
    again = [*events()[:4], {"event": "begin", "seconds": {}}, *events()[2:]]
    assert taken(write_run(tmp_path, events=again))[1].flop == 14e9


def test_what_was_not_recorded_is_not_0(tmp_path: Path) -> None:
    without = [{key: value for key, value in event.items() if key not in ("tokens", "gflop")} for event in events()]
    last = taken(write_run(tmp_path / "a", events=without))[1]
    assert (last.flop, last.num_tokens) == (None, None)
    # products that the counter does not know: tokens are there, FLOPs are not
    uncounted = [{**event, "gflop": {}} if event["event"] == "trained" else event for event in events()]
    last = taken(write_run(tmp_path / "b", events=uncounted))[1]
    assert (last.flop, last.num_tokens) == (None, 80.0)
    assert taken(write_run(tmp_path / "c", events=[]))[1].flop is None


def test_dollars_are_those_of_labels_and_of_judging_each_answer_once(tmp_path: Path) -> None:
    # gpt-4.1-mini: 0.4 and 1.6 dollars a million tokens, so 1000 + 500 tokens are 0.0012 dollars
    first, last = taken(write_run(tmp_path, usage={"prompt_tokens": 1000, "completion_tokens": 500}))
    assert first.label_usd == 0.0
    assert last.label_usd == pytest.approx(8 * 0.0012)
    assert first.judge_usd == pytest.approx(4 * 0.0012)
    assert last.judge_usd == pytest.approx(8 * 0.0012)
    assert taken(write_run(tmp_path / "free"))[1].label_usd == 0.0


def test_an_answer_that_stands_behind_two_waypoints_is_paid_once(tmp_path: Path) -> None:
    path = write_run(tmp_path, usage={"prompt_tokens": 1000, "completion_tokens": 500})
    rows = (path / "waypoints" / "0000.jsonl").read_text()
    (path / "waypoints" / "0008.jsonl").write_text(rows)
    first, last = taken(path)
    assert first.judge_usd == last.judge_usd == pytest.approx(4 * 0.0012)


def test_means_over_seeds_are_unknown_where_one_seed_is() -> None:
    one, other = Taken(1.0, 2.0, None, 4.0), Taken(3.0, 4.0, 5.0, 6.0)
    assert Taken.mean([one, other]) == Taken(2.0, 3.0, None, 5.0)


def test_findings_of_several_seeds(tmp_path: Path) -> None:
    runs = [Run(write_run(tmp_path, name, seed)) for name in ("random", "certainty") for seed in (0, 1)]
    found = read_findings(runs, num_pairs=1000)
    assert found.spending["random"].stages["train"].seconds == 8.0  # 2 seeds, 2 steps of 2 s
    assert [subject.part for subject in found.judges.subjects] == ["judge", "oracle"]
    assert [(one.num, one.usd) for one in found.answers] == [(32, 0.0), (32, 0.0)]
    assert len(found.pairs) == 4 * 16  # all there are: 8 labels and 8 comparisons of each run
    assert [point.flop for point in found.taken["certainty"]] == [0.0, 14e9]


def test_pairs_are_dealt_out_evenly_and_depend_on_nothing_but_the_runs(tmp_path: Path) -> None:
    runs = [Run(write_run(tmp_path, name, seed)) for name in ("random", "certainty") for seed in (0, 1)]
    found = read_findings(runs, num_pairs=20)
    counts = Counter(pair.stratum for pair in found.pairs)
    assert sum(counts.values()) == 20
    assert set(counts.values()) == {2, 3}  # 8 strata: two strategies, two steps and two waypoints each
    again = read_findings(runs[::-1], num_pairs=20)
    assert sorted(found.pairs, key=repr) == sorted(again.pairs, key=repr)
    elsewhere = [Run(Path(shutil.copytree(run.path, tmp_path / "elsewhere" / run.path.name))) for run in runs]
    assert read_findings(elsewhere, num_pairs=20).pairs == found.pairs
    fewer = read_findings(runs, num_pairs=8)
    assert set(fewer.pairs) <= set(found.pairs)
    assert len({pair.stratum for pair in fewer.pairs}) == 8


def test_a_pair_has_its_own_texts_verdict_and_reply(tmp_path: Path) -> None:
    run = Run(write_run(tmp_path))
    share = dict.fromkeys(strata_of("random", run), 4)
    found = merged(shown_of(run, "random", share, run.judgments()), share)
    for pair in found:
        number = int(pair.replies[0][-1])
        assert pair.verdict == ("first", "second", "first", "tie")[number]
        kind = "step" if pair.stratum.part == "label" else "waypoint"
        assert pair.replies == (f"reply to random-0-{kind}-{pair.stratum.at}-{number}",)
        assert (pair.p_policy is None) == (kind == "waypoint")
        assert pair.first.startswith(f" text of random-0-{kind}-{pair.stratum.at}-{number}-")
        assert pair.swapped == (number == 1)
    by_number = {int(pair.replies[0][-1]): pair.p_policy for pair in found if pair.stratum.part == "label"}
    assert by_number[0] == 0.5
    assert by_number[3] == pytest.approx(0.574442, abs=1e-6)  # 1 / (1 + e^-0.3)


def test_a_missing_judgment_is_named(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    lines = (path / "judgments.jsonl").read_bytes().split(b"\n")
    (path / "judgments.jsonl").write_bytes(b"\n".join(lines[1:]))
    with pytest.raises(SpecError, match="lacks"):
        read_findings([Run(path)], num_pairs=100)


def test_a_held_run_reads_each_file_once(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    held = HeldRun(path)
    before = (held.judgments(), held.step_rows(1), held.waypoint_rows(8))
    for file in path.rglob("*.jsonl"):
        file.unlink()
    assert (held.judgments(), held.step_rows(1), held.waypoint_rows(8)) == before


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_add_up(num_pairs: int, num_strata: int) -> None:
    found = shares([Stratum("a", "label", step) for step in range(num_strata)], num_pairs)
    assert sum(found.values()) == num_pairs
    assert max(found.values()) - min(found.values()) <= 1
    assert shares([], num_pairs) == {}


def test_texts_are_marked_where_something_is_hidden() -> None:
    assert marked(" plain <b>") == "plain <b>"
    assert marked("a\u202eb\x1b[31m") == ["a", "U+202E", "b", "U+001B", "[31m"]
    assert marked("\u202e\u2066x") == ["", "U+202E", "", "U+2066", "x"]
    assert marked("") == ["", "empty", ""]
    long = marked("x" * (MAX_LETTERS + 5))
    assert isinstance(long, list)
    assert (len(str(long[0])), long[1]) == (MAX_LETTERS, "5 more characters")
