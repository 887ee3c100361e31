"""Trackers told of runs, live and afterwards; one that fails takes nothing with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apl_bench.records import Run
from apl_bench.tracking import targets
from apl_bench.tracking.following import following, log_recorded
from apl_bench.tracking.targets import BACKENDS, Target, parse_all
from apl_bench.types import SpecError
from tests.test_replay import GOLDEN
from tests.tracking.runs import Remembering, all_values, stopped, to

EVERYTHING = all_values(Run(GOLDEN))
EVENTS = Run(GOLDEN).events()


def test_a_recorded_run_is_told_once(tmp_path: Path) -> None:
    tracker, told = Remembering(), list[str]()
    counts = [log_recorded(Run(GOLDEN), to(tracker), told.append).num_logged for _ in range(2)]
    assert tracker.values == EVERYTHING
    assert counts == [len(EVERYTHING), 0]
    assert tracker.ends == [True, True]
    assert told == []


def test_the_spec_is_told_and_no_text(tmp_path: Path) -> None:
    tracker = Remembering()
    log_recorded(Run(GOLDEN), to(tracker), print)
    subject = tracker.subject
    assert subject is not None
    assert subject.name == "imdb-lite/certainty/seed-003-652dcae0"
    assert subject.group == "imdb-lite/certainty"
    assert subject.config["training.epochs"] == 2
    assert subject.config["loop.waypoints"] == "[0, 8]"
    assert "policy.revision" not in subject.config  # null
    assert subject.config["identity"] == Run(GOLDEN).manifest["identity"]


@pytest.mark.parametrize("num_events", range(len(EVENTS) + 1))
def test_a_run_that_goes_on_is_told_the_rest_wherever_it_stopped(tmp_path: Path, num_events: int) -> None:
    run, tracker = stopped(tmp_path / "run", num_events), Remembering()
    log_recorded(run, to(tracker), print)
    assert tracker.ends == [num_events == len(EVENTS)]
    with following(run, [to(tracker)], print) as tell:
        for event in EVENTS[num_events:]:
            tell(event)
    assert tracker.values == EVERYTHING
    assert tracker.ends[-1] is True


def test_a_tracker_that_was_not_told_before_catches_up(tmp_path: Path) -> None:
    run, tracker = stopped(tmp_path / "run", 4), Remembering()
    with following(run, [to(tracker)], print) as tell:
        for event in EVENTS[4:]:
            tell(event)
    assert tracker.values == EVERYTHING


def failing_after(num: int, error: BaseException) -> Remembering:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        if len(calls) > num:
            raise error

    return Remembering(fail=fail)


@pytest.mark.parametrize("error", [OSError("disk full."), SystemExit(3), ValueError("no")])
def test_a_tracker_that_fails_is_told_of_once_and_the_others_go_on(tmp_path: Path, error: BaseException) -> None:
    run, broken, whole, told = stopped(tmp_path / "run", 0), failing_after(2, error), Remembering(), list[str]()
    with following(run, [to(broken), to(whole)], told.append) as tell:
        for event in EVENTS:
            tell(event)
    assert whole.values == EVERYTHING
    assert len(told) == 1
    assert f"{type(error).__name__}: {str(error).rstrip('.')}. The run and its labels are not touched" in told[0]
    assert f"apl-bench track {run.path} --to fake:" in told[0]
    assert broken.ends == []
    broken.fail = lambda: None
    log_recorded(Run(GOLDEN), to(broken), told.append)  # what is missing, and nothing twice
    assert broken.values == EVERYTHING


def test_a_tracker_that_cannot_begin_is_told_of_once() -> None:
    class Broken(Remembering):
        def begin(self, run: Any) -> Any:
            raise ConnectionError("nobody there")

    told = list[str]()
    follower = log_recorded(Run(GOLDEN), to(Broken()), told.append)
    assert follower.failed
    assert len(told) == 1


def test_what_is_no_tracker_is_refused_before_anything() -> None:
    with pytest.raises(SpecError, match=r"no tracker called 'tensorbord'\. Did you mean 'tensorboard'"):
        Target.parse("tensorbord")
    with pytest.raises(SpecError, match=r"'mlflow:' ends in a colon; expected mlflow:URI, or mlflow"):
        Target.parse("mlflow:")


def test_a_tracker_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "find_spec", lambda _name: None)
    for name in BACKENDS:
        with pytest.raises(SpecError, match=rf"pip install 'apl-bench\[{name}\]'"):
            Target.parse(name)


def test_what_stands_behind_the_first_colon_is_the_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "find_spec", lambda name: name)
    assert parse_all(["mlflow:sqlite:///a.db", "wandb", "wandb"]) == [
        Target("mlflow", "sqlite:///a.db"), Target("wandb"),
    ]  # fmt: skip
    assert str(Target("mlflow", "sqlite:///a.db")) == "mlflow:sqlite:///a.db"
