"""Which cell comes next, and what becomes of those that do not end well; workers are played by a list of answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from apl_bench.asking.budget import Caps, Spent
from apl_bench.sweep import schedule
from apl_bench.sweep.cells import Cell
from apl_bench.sweep.executor import Note, Report
from apl_bench.sweep.purse import Purse
from apl_bench.sweep.schedule import State, Sweep
from apl_bench.sweep.worker import End, Outcome
from tests.sweep.tiny import cell

DONE = Outcome(End.DONE)


class Played:
    """Slots that answer at the next poll, oldest first: by the cell's name the next of its answers, else DONE."""

    def __init__(
        self, num_slots: int, answers: dict[str, list[Outcome | Note]] | None = None, at_once: int = 99
    ) -> None:
        self.num_slots = num_slots
        self.given: list[tuple[int, str, Caps]] = []
        self._answers = defaultdict(list, answers or {})
        self._busy: dict[int, Cell] = {}
        self._at_once = at_once

    def free(self) -> list[int]:
        return [slot for slot in range(self.num_slots) if slot not in self._busy]

    def submit(self, slot: int, cell: Cell, caps: Caps) -> None:
        assert slot in self.free()
        self.given.append((slot, name(cell), caps))
        self._busy[slot] = cell

    def poll(self, _timeout_s: float) -> list[Report]:
        assert self._busy
        reports = []
        for slot, at_work in list(self._busy.items())[: self._at_once]:
            answers = self._answers[name(at_work)]
            said = answers.pop(0) if answers else DONE
            if isinstance(said, Outcome):
                del self._busy[slot]
            reports.append(Report(slot, said))
        return reports

    def close(self) -> None:
        raise AssertionError("whoever made it closes it")


class Heard:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def began(self, state: State) -> None:
        self.lines.append(f"begin {name(state.cell)}")

    def ended(self, state: State) -> None:
        assert state.last is not None
        self.lines.append(f"{state.last.end.value} {name(state.cell)}")

    def note(self, state: State, line: str) -> None:
        self.lines.append(f"{name(state.cell)}: {line}")

    def tick(self) -> None:
        pass


def name(of: Cell) -> str:
    return f"{of.spec.strategy.name} {of.spec.seed}" + (" more" if of.spec.evaluation.num_prompts == 13 else "")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "AGAIN_S", 0.0)
    monkeypatch.setattr(schedule, "POLL_S", 0.0)


def cells(tmp_path: Path, strategies: Sequence[str] = ("random", "certainty"), num_seeds: int = 2) -> list[Cell]:
    return [cell(tmp_path, strategy, seed) for seed in range(num_seeds) for strategy in strategies]


def sweep(grid: Sequence[Cell], executor: Played, caps: Caps | None = None) -> tuple[list[State], Heard]:
    states, heard = [State(each) for each in grid], Heard()
    Sweep(states, executor, Purse(caps or Caps()), heard, num_retries=2).run()
    return states, heard


def test_workers_begin_with_different_seeds(tmp_path: Path) -> None:
    """So that what a seed's cells share is there when the second of them begins."""
    executor = Played(2)
    states, _ = sweep(cells(tmp_path), executor)
    assert [given[:2] for given in executor.given] == [
        (0, "random 0"), (1, "random 1"), (0, "certainty 0"), (1, "certainty 1"),
    ]  # fmt: skip
    assert all(state.end is End.DONE for state in states)


def test_a_worker_stays_with_what_it_has_loaded(tmp_path: Path) -> None:
    more = "evaluation.num_prompts=13"
    grid = [each for seed in (0, 1) for each in (cell(tmp_path, "random", seed), cell(tmp_path, "random", seed, more))]
    executor = Played(2, at_once=1)
    sweep(grid, executor)
    by_slot = [[given[1] for given in executor.given if given[0] == slot] for slot in (0, 1)]
    assert by_slot == [["random 0", "random 1 more"], ["random 1", "random 0 more"]] or all(
        len({word.endswith("more") for word in names}) == 1 for names in by_slot
    )


def test_what_fails_stops_nothing_else(tmp_path: Path) -> None:
    failed = Outcome(End.FAILED, "no such model")
    states, _ = sweep(cells(tmp_path), Played(1, {"random 0": [failed]}))
    assert [state.end for state in states] == [End.FAILED, End.DONE, End.DONE, End.DONE]
    assert states[0].last == failed


def test_the_dead_are_tried_again_so_often(tmp_path: Path) -> None:
    died = Outcome(End.DIED, "SIGKILL")
    states, heard = sweep(cells(tmp_path), Played(2, {"random 0": [died] * 2, "random 1": [died] * 9}))
    assert [state.end for state in states] == [End.DONE, End.DONE, End.DIED, End.DONE]
    assert heard.lines.count("begin random 0") == 3
    assert heard.lines.count("begin random 1") == 3


def test_what_others_have_is_waited_for(tmp_path: Path) -> None:
    held = Outcome(End.HELD, "claimed by other (process 1)")
    states, _ = sweep(cells(tmp_path), Played(1, {"certainty 1": [held] * 5}))
    assert {state.end for state in states} == {End.DONE}


def test_awaiting_labels_is_an_end(tmp_path: Path) -> None:
    waiting = Outcome(End.AWAITING, "awaiting 4 labels")
    states, heard = sweep(cells(tmp_path), Played(1, {"random 0": [Note("batch: sent"), waiting]}))
    assert states[0].end is End.AWAITING
    assert "random 0: batch: sent" in heard.lines


def test_caps_are_shared_out_and_given_back(tmp_path: Path) -> None:
    """100 calls for two workers: half each; who spends 10 leaves the rest to the next."""
    spent = Outcome(End.DONE, spent=Spent(10, 100, 0.5))
    executor = Played(2, {"random 0": [spent], "random 1": [spent]})
    states, _ = sweep(cells(tmp_path), executor, Caps(calls=100, cost_usd=10.0))
    assert [given[2] for given in executor.given] == [
        Caps(50, None, 5.0), Caps(50, None, 5.0), Caps(40, None, 4.5), Caps(40, None, 4.5),
    ]  # fmt: skip
    assert {state.end for state in states} == {End.DONE}


def test_who_reached_its_share_waits_for_what_others_leave(tmp_path: Path) -> None:
    capped = Outcome(End.CAPPED, "--max-calls 50 would be passed", spent=Spent(50, 0, 0.0))
    executor = Played(2, {"random 0": [capped]}, at_once=1)
    states, _ = sweep(cells(tmp_path, ["random"]), executor, Caps(calls=100))
    assert [given[2].calls for given in executor.given] == [50, 50, 0]
    assert {state.end for state in states} == {End.DONE}
    executor = Played(1, {"random 0": [capped]})
    states, _ = sweep(cells(tmp_path, ["random"], 1), executor, Caps(calls=50))
    assert [state.end for state in states] == [End.CAPPED], "nobody else has any left"


def test_what_a_dead_worker_had_counts_as_spent() -> None:
    purse = Purse(Caps(calls=10, cost_usd=1.0))
    assert purse.take(0, 2) == Caps(5, None, 0.5)
    purse.give_back(0, None)
    assert purse.take(1, 1) == Caps(5, None, 0.5)
    purse.give_back(1, Spent(1, 10, None))  # of unknown price: no dollar is left to be shared out
    assert purse.take(1, 1) == Caps(4, None, 0.0)


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_shares_never_come_to_more_than_the_cap(parts: int) -> None:
    purse = Purse(Caps(calls=100, tokens=1000))
    shares = [purse.take(slot, parts - slot) for slot in range(parts)]
    assert sum(share.calls or 0 for share in shares) <= 100
    assert sum(share.tokens or 0 for share in shares) <= 1000
    assert purse.take(99, 1).calls == 100 - sum(share.calls or 0 for share in shares)
