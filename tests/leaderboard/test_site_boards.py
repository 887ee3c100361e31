"""Who is ranked against whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from apl_bench.benchmarks.made_submissions import Made, entry_of
from apl_bench.leaderboard.site.boards import Board, Row, boards
from apl_bench.leaderboard.site.entries import Entry
from apl_bench.leaderboard.site.history import Event
from apl_bench.leaderboard.site.outcomes import array_of
from apl_bench.statistics.ranks import rank_intervals
from apl_bench.types import SpecError

NUM_SEEDS = 7  # fewer than six separate nobody
SMALL: dict[str, Any] = {"num_prompts": 200, "seeds": tuple(range(NUM_SEEDS))}
FIRST = Made(id="first", skill={"random": 0.5, "good": 0.8}, created="2026-11-20T12:00:00+00:00", **SMALL)
SECOND = Made(id="second", skill={"random": 0.5, "best": 0.95}, **SMALL)


def board_of(*made: Made) -> Board:
    (board,) = boards([entry_of(one) for one in made])
    return board


def ranks(board: Board) -> dict[str, tuple[int, int] | None]:
    return {row.label: row.rank for row in board.rows}


def test_presets_as_they_ship_come_before_changed_ones() -> None:
    """Whatever their regimes are called."""
    changed = replace(SECOND, regime="continue", division="open", settings="other")
    assert [board.regime for board in boards([entry_of(changed), entry_of(FIRST)])] == ["restart", "continue"]


def test_rows_of_different_submissions_are_paired_and_ranked() -> None:
    board = board_of(FIRST, SECOND)
    assert len(board.groups) == 1
    assert ranks(board) == {
        "best (second)": (1, 1), "good (first)": (2, 2), "random (first)": (3, 3), "random (second)": (3, 3),
    }  # fmt: skip


def test_ranks_are_those_of_the_statistics_over_all_different_rows() -> None:
    board = board_of(FIRST, SECOND)
    rows = [row for row in board.rows if not row.same_as]
    again = rank_intervals([array_of(row.lines) for row in rows])
    assert [(place.best, place.worst) for place in again] == [row.rank for row in rows]


def test_a_reproduction_shares_the_rank_of_what_it_reproduces_and_counts_for_nothing() -> None:
    board = board_of(FIRST, SECOND)
    again = next(row for row in board.rows if row.label == "random (second)")
    assert again.same_as == "first"
    assert again.entry.id == "second"
    assert board.groups[0].num_ranked == 3
    assert board_of(SECOND, FIRST).rows == board.rows  # the older one is the original, in whichever order they are read


def test_the_same_outcomes_under_another_name_are_a_tie_and_no_reproduction() -> None:
    lines = ["wl" * 100] * NUM_SEEDS
    board = board_of(replace(FIRST, outcomes={"good": lines}), replace(SECOND, outcomes={"best": lines}))
    good, best = (next(row for row in board.rows if row.strategy == name) for name in ("good", "best"))
    assert good.rank == best.rank
    assert good.same_as == best.same_as == ""
    assert "best (second)" in good.tied_with
    assert "good (first)" in best.tied_with


@pytest.mark.parametrize(
    "other",
    [
        {"seeds": tuple(range(5, 12))},
        {"seeds": tuple(range(NUM_SEEDS + 1))},
        {"settings": "three epochs"},
        {"division": "open"},
        {"waypoints": (0, 256)},
    ],
)
def test_rows_that_cannot_be_paired_stand_side_by_side(other: dict[str, Any]) -> None:
    board = board_of(FIRST, replace(SECOND, **other))
    assert len(board.groups) == 2
    assert ranks(board)["good (first)"] == (1, 1)
    assert ranks(board)["best (second)"] == (1, 1)


def test_other_weights_and_other_prompts_are_groups_of_their_own() -> None:
    for name in ("materials_sha256", "prompts_sha256"):
        entry = entry_of(SECOND)
        change: dict[str, Any] = {name: "1" * 64}
        known = {key: replace(value, **change) for key, value in entry.recorded.outcomes.items()}
        other = replace(entry, recorded=replace(entry.recorded, outcomes=known))
        (board,) = boards([entry_of(FIRST), other])
        assert len(board.groups) == 2, name


def test_regimes_and_presets_are_tables_of_their_own() -> None:
    found = boards(
        [entry_of(one) for one in (FIRST, replace(SECOND, regime="online"), replace(SECOND, preset="paper"))]
    )
    assert [board.name for board in found] == ["imdb lite, online", "imdb lite, restart", "imdb paper, restart"]


def test_one_seed_separates_nobody() -> None:
    board = board_of(replace(FIRST, seeds=(0,)))
    assert {row.rank for row in board.rows} == {(1, 2)}


def test_a_row_without_a_win_rate_is_never_ranked_and_says_why() -> None:
    broken = ["x" * 200, *["w" * 200] * (NUM_SEEDS - 1)]
    board = board_of(replace(FIRST, outcomes={"good": broken}), SECOND)
    assert [row.strategy for row in board.rows][-1] == "good"
    row = board.rows[-1]
    assert row.rank is None
    assert row.unranked_because == "its win rate is missing: a seed has no verdict that could be read"
    assert ranks(board)["best (second)"] == (1, 1)
    assert ranks(board)["random (first)"] == (2, 2)  # among two, not three


def with_row(made: Made, strategy: str, point: dict[str, object] | None = None, **changes: object) -> Entry:
    """A made submission of which one row of results.json says something else."""
    entry = entry_of(made)
    (comparison,) = entry.comparisons
    rows = [{**row, **changes, "curve": [*row["curve"][:-1], {**row["curve"][-1], **(point or {})}]}
            if row["strategy"] == strategy else row for row in comparison["rows"]]  # fmt: skip
    results = ({**comparison, "rows": rows},)
    return replace(entry, submission=replace(entry.submission, results=results))


def test_a_row_with_many_invalid_verdicts_is_not_ranked() -> None:
    (board,) = boards([with_row(FIRST, "good", {"share_invalid": 0.02}), entry_of(SECOND)])
    assert ranks(board)["good (first)"] is None
    assert board.rows[-1].unranked_because == "2.0 % of its verdicts are invalid, which is over 1 %"
    (board,) = boards([with_row(FIRST, "good", {"share_invalid": 0.01}), entry_of(SECOND)])
    assert ranks(board)["good (first)"] == (2, 2)


def test_a_submission_s_own_reason_stands() -> None:
    reason = "it is shown for comparison only"
    (board,) = boards([with_row(FIRST, "good", ranked=False, unranked_because=reason)])
    assert board.rows[-1].unranked_because == reason


@pytest.mark.parametrize(("event", "by"), [("retracted", ""), ("replaced", "first")])
def test_what_was_taken_back_or_replaced_is_shown_and_not_ranked(event: str, by: str) -> None:
    ending = Event("2026-11-24", "second", event, "a reason", by)
    board = board_of(FIRST, replace(SECOND, events=(ending,)))
    assert [row.entry.id for row in board.rows] == ["first", "first"]
    assert [row.label for row in board.ended] == ["best (second)", "random (second)"]
    assert ranks(board)["good (first)"] == (1, 1)


def test_outcomes_that_give_another_win_rate_are_refused() -> None:
    entry = entry_of(FIRST)

    def forged(outcomes: dict[int, str]) -> dict[int, str]:
        return {**outcomes, 0: ("l" if outcomes[0][0] == "w" else "w") + outcomes[0][1:]}

    known = {name: replace(one, rows=tuple(replace(row, by_seed=forged(dict(row.by_seed))) for row in one.rows))
             for name, one in entry.recorded.outcomes.items()}  # fmt: skip
    with pytest.raises(SpecError, match=r"first: the win rate of good is 0\.\d+ in results.json and 0\.\d+ by the"):
        boards([replace(entry, recorded=replace(entry.recorded, outcomes=known))])


def test_outcomes_that_lack_a_seed_or_a_comparison_are_refused() -> None:
    entry = entry_of(FIRST)
    with pytest.raises(SpecError, match="the outcomes of imdb-lite are not recorded"):
        boards([replace(entry, recorded=replace(entry.recorded, outcomes={}))])
    known = {name: replace(one, rows=one.rows[:1]) for name, one in entry.recorded.outcomes.items()}
    with pytest.raises(SpecError, match="the recorded outcomes lack seeds of"):
        boards([replace(entry, recorded=replace(entry.recorded, outcomes=known))])


def test_controls_are_those_of_the_oldest_standing_submission() -> None:
    gone = replace(FIRST, events=(Event("2026-11-24", "first", "retracted", "a reason"),))
    assert board_of(SECOND, FIRST).controls_of == "first"
    assert board_of(SECOND, gone).controls_of == "second"
    null, copy, longest, _ = board_of(FIRST).controls
    assert null.win_rate is not None
    assert null.win_rate.mean == 0.5
    assert copy.win_rate is not None
    assert (copy.win_rate.mean, copy.win_rate.se_two_way) == (0.5, 0.0)
    assert longest.win_rate is None


def test_every_row_is_in_one_place() -> None:
    rng = np.random.default_rng(0)
    made = [replace(FIRST, id=f"s{number}", skill={"random": 0.5, f"m{number}": float(rng.uniform(0.4, 0.9))},
                    seeds=tuple(range(int(rng.integers(2, 4))))) for number in range(8)]  # fmt: skip
    (board,) = boards([entry_of(one) for one in made])
    labels = [row.label for row in board.rows]
    assert len(labels) == len(set(labels)) == 16
    for group in board.groups:
        ranked = [row for row in group.rows if row.rank]
        assert all(_is_within(row, group.num_ranked) for row in ranked)
        rates = [row.point["win_rate"] for row in ranked]
        assert rates == sorted(rates, reverse=True)


def _is_within(row: Row, num: int) -> bool:
    assert row.rank
    return 1 <= row.rank[0] <= row.rank[1] <= num


def test_badges_come_with_reasons() -> None:
    audited = Event("2026-11-24", "first", "audited", "100 verdicts were asked again", "A. Maintainer")
    entry: Entry = entry_of(replace(FIRST, events=(audited,)))
    recomputed, given = entry.badges
    assert "recomputed every number of 14 runs" in recomputed.why
    assert (given.name, given.why) == ("audited", "100 verdicts were asked again (A. Maintainer)")
