"""Events made into named numbers: which, where, each once, and never a text."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.records import Run
from apl_bench.tracking.rows import GROUPS, Rows
from tests.test_replay import GOLDEN
from tests.tracking.runs import all_values


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"event": kind, "time": 5.0, "seconds": {}, "tokens": {}, "gflop": {}, "peak_memory_mb": 7.0, **fields}


WAYPOINT = event("waypoint", num_labels=4, wins=3, losses=1, ties=0, invalid=0, win_rate=0.75, kl=None, mean_length=2.5)


def acquired(step: int, **fields: Any) -> dict[str, Any]:
    return event("acquired", step=step, num_pairs=4, num_preferences=3, ties=1, invalid=0, num_generated_tokens=9,
                 num_scored_tokens=0, diagnostics={}, **fields)  # fmt: skip


def test_a_waypoint_stands_at_its_labels_with_its_error() -> None:
    row = Rows().of(WAYPOINT)
    assert row is not None
    assert (row.axis, row.x, row.time_s) == ("num_labels", 4, 5.0)
    # 3 wins, 1 loss: mean 3/4, variance 3/16, over n - 1 = 3; nothing of what is null or missing
    assert row.values == {
        "waypoint/win_rate": 0.75, "waypoint/wins": 3, "waypoint/losses": 1, "waypoint/ties": 0, "waypoint/invalid": 0,
        "waypoint/mean_length": 2.5, "waypoint/win_rate_error": pytest.approx(math.sqrt(3 / 16 / 3)),
    }  # fmt: skip


def test_labels_add_up_over_steps() -> None:
    rows = Rows()
    found = [rows.of(acquired(step)) for step in (1, 2)]
    assert [row.values["step/num_labels"] for row in found if row] == [4, 8]


def test_a_step_spends_what_its_events_add_up_to() -> None:
    rows = Rows()
    rows.of(event("begin", seconds={"load": 2.0}))
    rows.of(acquired(1, seconds={"sample": 1.0, "oracle": 0.5}, tokens={"sample": 10}, gflop={"sample": 4.0}))
    rows.of(event("trained", step=1, seconds={"sample": 1.0}, gflop={"sample": 2.0}, last_epoch_loss=0.5))
    row = rows.of(event("committed", step=1, seconds={"disk": 0.5}))
    assert row is not None
    assert row.values == {
        "seconds/load": 2.0, "seconds/sample": 2.0, "seconds/oracle": 0.5, "seconds/disk": 0.5, "seconds/all": 5.0,
        "tokens/sample": 10, "tokens/all": 10, "gflop_per_s/sample": 3.0, "memory/peak_memory_mb": 7.0,
    }  # fmt: skip
    later = rows.of(event("committed", step=2, seconds={"disk": 0.25}))
    assert later is not None
    assert later.values["seconds/all"] == 0.25
    total = rows.of(event("finished", seconds={"other": 0.75}))
    assert total is not None
    assert (total.x, total.values["total/seconds/all"]) == (1, 6.0)  # step 1 is all that bought


def test_what_a_resumed_run_tells_again_is_there_once() -> None:
    rows = Rows()
    assert rows.of(acquired(1))
    assert rows.of(acquired(1, seconds={"sample": 1.0})) is None
    assert rows.of(WAYPOINT)
    assert rows.of(WAYPOINT) is None
    committed = rows.of(event("committed", step=1))
    assert committed is not None
    assert committed.values["seconds/sample"] == 1.0  # spent all the same


@given(st.lists(st.integers(0, 9)))
def test_any_repetition_of_events_gives_each_place_once(again: list[int]) -> None:
    events, rows = Run(GOLDEN).events(), Rows()
    told = [rows.of(item) for item in [events[place] for place in again] + events]
    places = [(name, row.x) for row in told if row for name in row.values]
    assert len(places) == len(set(places))
    assert {place for place in places if place[0].startswith("waypoint/")} == {
        place for place in all_values(Run(GOLDEN)) if place[0].startswith("waypoint/")
    }


def test_only_finite_numbers_under_harmless_names() -> None:
    diagnostics = {"a/b c": 1.0, "text": "secret", "flag": True, "none": None}
    row = Rows().of({**acquired(1), "diagnostics": diagnostics})
    assert row is not None
    assert {name for name in row.values if name.startswith("strategy/")} == {"strategy/a_b_c"}


def test_no_name_is_the_folder_of_another() -> None:
    names = {name for name, _ in all_values(Run(GOLDEN))}
    assert {name.split("/")[0] for name in names} <= {group for groups in GROUPS.values() for group in groups}
    assert not [name for name in names for other in names if other.startswith(f"{name}/")]
