"""Which cell comes next, and what becomes of those that do not end well; workers are played by a list of answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from apl_bench.asking.budget import CapReachedError, Caps, Meter, Spent
from apl_bench.experiment import Means
from apl_bench.sweep import schedule
from apl_bench.sweep.cells import Cell
from apl_bench.sweep.claims import claim
from apl_bench.sweep.executor import Note, Report
from apl_bench.sweep.purse import FOLDER, Purse, Share
from apl_bench.sweep.schedule import State, Sweep
from apl_bench.sweep.slips import Slip
from apl_bench.sweep.worker import End, Orders, Outcome, Tell, Worker
from apl_bench.types import Allowance
from tests.sweep.tiny import cell, orders

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

    def submit(self, slot: int, cell: Cell, share: Share) -> None:
        assert slot in self.free()
        self.given.append((slot, name(cell), share.caps))
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


class Arriving(Played):
    """Its slots come one by one, as the actors of a cluster do."""

    num_there = 1

    def free(self) -> list[int]:
        return [slot for slot in super().free() if slot < self.num_there]

    def poll(self, timeout_s: float) -> list[Report]:
        self.num_there += 1
        return super().poll(timeout_s) if self.num_there > self.num_slots else []


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
    states, heard, root = [State(each) for each in grid], Heard(), grid[0].root
    purse = Purse(caps or Caps(), root)
    Sweep(states, executor, purse, heard, num_retries=2).run()
    purse.close()
    assert not (root / FOLDER).exists()
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


def test_workers_that_come_one_by_one_find_as_much_each(tmp_path: Path) -> None:
    """As many shares as slots that will exist, whoever is there first."""
    executor = Arriving(4)
    sweep(cells(tmp_path), executor, Caps(calls=100, tokens=40))
    assert [given[2] for given in executor.given] == [Caps(25, 10)] * 4


def capped(calls: int) -> Outcome:
    return Outcome(End.CAPPED, "--max-calls would be passed", spent=Spent(calls, 0, 0.0))


def test_who_reached_its_share_goes_on_with_all_that_others_leave(tmp_path: Path) -> None:
    done = Outcome(End.DONE, spent=Spent(20, 0, 0.0))
    executor = Played(2, {"random 0": [capped(50), done], "random 1": [Note("at work"), done]}, at_once=1)
    states, _ = sweep(cells(tmp_path, ["random"]), executor, Caps(calls=100))
    assert [given[1:] for given in executor.given] == [
        ("random 0", Caps(50)), ("random 1", Caps(50)), ("random 0", Caps(30)),
    ]  # fmt: skip
    assert {state.end for state in states} == {End.DONE}


def test_nobody_begins_with_nothing_while_others_may_leave_something(tmp_path: Path) -> None:
    spent = Outcome(End.DONE, spent=Spent(50, 0, 0.0))
    other = [Note("at work")] * 3 + [Outcome(End.DONE, spent=Spent(10, 0, 0.0))]
    executor = Played(2, {"random 0": [spent], "random 1": other})
    sweep(cells(tmp_path, ["random"], 3), executor, Caps(calls=100))
    assert [given[1:] for given in executor.given][2] == ("random 2", Caps(40))


def test_with_too_little_for_all_each_is_tried_when_there_is_more_and_given_up(tmp_path: Path) -> None:
    """Each attempt at a cell costs its loading: no attempt without more than the last one could not go on with."""
    grid = cells(tmp_path, ["random"], 3)
    answers: dict[str, list[Outcome | Note]] = {f"random {seed}": [capped(9), *[capped(0)] * 99] for seed in range(3)}
    executor = Played(3, answers, at_once=1)
    states, _ = sweep(grid, executor, Caps(calls=30))
    assert {state.end for state in states} == {End.CAPPED}
    assert all(state.ended for state in states)
    shares = [[given[2].calls or 0 for given in executor.given if given[1] == name(each)] for each in grid]
    assert [each[0] for each in shares] == [10, 10, 10]
    assert all(each == sorted(set(each)) for each in (each[1:] for each in shares)), shares
    assert sum(map(len, shares)) <= 7


@pytest.mark.parametrize("cap", [Caps(calls=0), Caps(calls=0, tokens=100)])
def test_where_nothing_may_be_spent_nobody_waits_for_more(tmp_path: Path, cap: Caps) -> None:
    """What the ledger has costs nothing, and is had by all workers at a time."""
    executor = Played(2, {"certainty 0": [capped(0)]})
    states, heard = sweep(cells(tmp_path), executor, cap)
    assert [state.end for state in states] == [End.DONE, End.CAPPED, End.DONE, End.DONE]
    assert heard.lines[:2] == ["begin random 0", "begin random 1"]
    assert heard.lines.count("begin certainty 0") == 1


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_shares_never_come_to_more_than_the_cap(tmp_path: Path, parts: int) -> None:
    purse = Purse(Caps(calls=100, tokens=1000, cost_usd=0.1), tmp_path)
    shares = [purse.take(slot, parts - slot).caps for slot in range(parts)]
    assert sum(share.calls or 0 for share in shares) == 100
    assert sum(share.tokens or 0 for share in shares) == 1000
    assert sum(share.cost_usd or 0 for share in shares) == pytest.approx(0.1, abs=1e-12)
    assert purse.take(99, 1).caps.calls == 0


def test_a_death_costs_what_was_spent_and_set_aside_until_then(tmp_path: Path) -> None:
    purse = Purse(Caps(calls=10, tokens=1000), tmp_path)
    share = purse.take(0, 1)
    assert share.slip is not None
    meter = Meter(share.caps)
    meter.note = share.slip.write
    first, second = meter.reserve_all([Allowance(60, 40)] * 2, None)
    meter.settle(first, {"input_tokens": 30, "output_tokens": 5}, None)
    purse.give_back(0, None)
    assert (purse.spent.calls, purse.spent.tokens) == (2, 135)
    assert purse.take(1, 1).caps == Caps(8, 865)
    with pytest.raises(CapReachedError, match="for dead"):  # it lives after all, and may have been replaced
        meter.reserve(Allowance(60, 40), None)
    meter.settle(second, {"input_tokens": 1}, None)  # a reply that comes home is kept
    assert meter.reserved == Spent()


def test_a_death_of_which_nothing_is_known_costs_the_share(tmp_path: Path) -> None:
    purse = Purse(Caps(calls=10, cost_usd=1.0), tmp_path)
    share = purse.take(0, 2)
    assert share.slip is not None
    share.slip.path.write_bytes(b'{"calls": 0, "tok')
    purse.give_back(0, None)
    assert purse.take(1, 1).caps == Caps(5, None, 0.5)
    purse.give_back(1, Spent(1, 10, None))  # of unknown price: no dollar is left to be shared out
    assert purse.take(1, 1).caps == Caps(4, None, 0.0)


def test_one_worker_that_dies_ends_no_capped_sweep(tmp_path: Path) -> None:
    executor = Played(1, {"random 0": [Outcome(End.DIED, "SIGKILL")]})
    states, _ = sweep(cells(tmp_path), executor, Caps(calls=100))
    assert [given[2].calls for given in executor.given] == [100] * 5
    assert {state.end for state in states} == {End.DONE}


def test_a_worker_notes_what_it_spends_on_its_slip(tmp_path: Path) -> None:
    slip, asked = Slip.new(tmp_path / "slip"), cell(tmp_path, "random", 0)
    opened = orders(tmp_path / "ledger")
    noting = []

    @contextmanager
    def open_means(caps: Caps, tell: Tell) -> Iterator[Means]:
        with opened.open_means(caps, tell) as means:
            yield means
            noting.append(means.asking.meter.note)

    held = claim(asked.path)
    outcome = Worker(Orders(open_means)).work(asked, Share(Caps(calls=5), slip), print)
    held.release()
    assert (outcome.end, noting) == (End.HELD, [slip.write])
