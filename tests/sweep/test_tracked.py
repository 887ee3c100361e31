"""Trackers of a sweep: told what the run directories say, once for each cell, whoever ran it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from apl_bench.cli.main import main
from apl_bench.records import Run
from apl_bench.sweep.cells import Cell
from apl_bench.sweep.schedule import State
from apl_bench.sweep.tracked import Tracked, Trackers
from apl_bench.sweep.worker import End, Outcome
from tests.sweep.test_schedule import Heard
from tests.sweep.tiny import OPTIONS, cell
from tests.test_replay import GOLDEN
from tests.tracking.runs import Remembering, all_values, to


def recorded(root: Path, seed: int) -> Cell:
    """A cell whose folder holds the golden run: trackers go by what stands there."""
    made = cell(root, "random", seed)
    shutil.copytree(GOLDEN, made.path)
    return made


def told_of(cells: list[Cell], ends: list[tuple[End, bool]], trackers: Trackers) -> Heard:
    heard = Heard()
    listener = Tracked(heard, trackers)
    for each, (end, ended) in zip(cells, ends, strict=True):
        state = State(each, last=Outcome(end), ended=ended)
        listener.began(state)
        listener.ended(state)
        listener.tick()
    return heard


def test_a_tracker_hears_of_a_cell_when_it_has_ended(tmp_path: Path) -> None:
    tracker, told = Remembering(), list[str]()
    trackers = Trackers([to(tracker)], tmp_path, told.append)
    heard = told_of([recorded(tmp_path, 0)], [(End.DIED, False)], trackers)
    assert tracker.values == {}, "it is tried again"
    told_of([cell(tmp_path, "random", 0)], [(End.DONE, True)], trackers)
    assert tracker.values == all_values(Run(GOLDEN))
    assert (heard.lines, told) == (["begin random 0", "died random 0"], [])


def test_of_a_cell_that_never_began_there_is_nothing_to_tell(tmp_path: Path) -> None:
    tracker, told = Remembering(), list[str]()
    told_of([cell(tmp_path, "random", 0)], [(End.FAILED, True)], Trackers([to(tracker)], tmp_path, told.append))
    assert (tracker.subject, told) == (None, [])


def test_a_tracker_that_fails_is_left_alone_and_the_others_go_on(tmp_path: Path) -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise OSError("no server")

    whole, told = Remembering(), list[str]()
    broken = to(Remembering(fail=fail))
    trackers = Trackers([broken, to(whole)], tmp_path, told.append)
    cells = [recorded(tmp_path, seed) for seed in (0, 1)]
    told_of(cells, [(End.DONE, True)] * 2, trackers)
    assert len(calls) == 1
    assert whole.ends == [True, True]
    assert (
        told[1] == f"{broken} is told nothing more of this sweep; afterwards: apl-bench track {tmp_path} --to {broken}"
    )


def test_a_run_that_was_changed_stops_no_sweep(tmp_path: Path) -> None:
    tracker, told = Remembering(), list[str]()
    broken = recorded(tmp_path, 0)
    (broken.path / "events.jsonl").write_text("{\n")
    told_of([broken, recorded(tmp_path, 1)], [(End.DONE, True)] * 2, Trackers([to(tracker)], tmp_path, told.append))
    assert tracker.values == all_values(Run(GOLDEN))
    assert "events.jsonl:1 is not JSON" in told[0]


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["sweep", "--strategies", "random", *OPTIONS, *map(str, arguments)])


def test_a_tracker_that_does_not_exist_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    done = invoke("--out", tmp_path, "--track", "tensorbord", "--dry-run")
    assert (done.exit_code, "Did you mean 'tensorboard'" in done.stderr) == (2, True)
