"""Replays, several comparisons behind one verdict, and asking again what was asked before."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from apl_bench.judging import Judging, Manner, MissingJudgment, Mode, Reasked
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.oracles.wrappers import BothOrders, Flip, Repeat
from apl_bench.types import SpecError, Verdict
from apl_bench.wrapping import Wrapped
from tests.judges import Longest, pair, pairs, record, replay

# Replay


def test_a_replay_gives_the_same_and_asks_nobody(ledger: Ledger) -> None:
    recorded = record(Longest(), ledger).judge(pairs(20))
    oracle = Longest()
    with Ledger(ledger.folder) as elsewhere:
        assert replay(oracle, elsewhere).judge(pairs(20)) == recorded
    assert oracle.asked == []


def test_a_miss_stops_a_replay_and_says_which_and_what_is_nearest(ledger: Ledger) -> None:
    record(Longest(), ledger).judge([pair("a good film", "bad"), pair("quite another", "text")])
    oracle = Longest()
    wanted = pair("a good film", "bad", prompt="The \x1b[31m\u202efilm")
    with pytest.raises(MissingJudgment) as caught:
        replay(oracle, ledger).judge([pair("a good film", "bad"), wanted, pair("x", "y")])
    error = caught.value
    assert oracle.asked == []
    assert error.num_missing == 2
    assert error.request["prompt"] == wanted.prompt.text
    assert error.key in str(error)
    assert error.nearest is not None
    fields = {difference.field: difference for difference in error.nearest.differences}
    assert fields["prompt"].recorded == '"The film"'
    assert json.loads(fields["prompt"].wanted) == wanted.prompt.text
    assert str(error).replace("\n", "").isprintable()
    assert str(error).isascii()


def test_a_miss_in_an_empty_ledger_or_in_a_mere_table_says_so(ledger: Ledger) -> None:
    class Table:
        def get_many(self, keys: Sequence[str], generation: int = 0) -> dict[str, Record]:
            return {}

    for empty in (ledger, Table()):
        with pytest.raises(MissingJudgment, match="no other record"):
            Judging(Longest(), empty, Manner(Mode.REPLAY, "random")).judge(pairs(1))
    with pytest.raises(TypeError, match=r"Table cannot record.*Mode\.REPLAY"):
        Judging(Longest(), Table(), Manner(Mode.RECORD, "random"))


# Several comparisons behind one verdict


class Stubborn(Longest):
    """Prefers what it is shown first, unless one text is twice as long."""

    def answer(self, first: str, second: str) -> str:
        return "B" if len(second) > 2 * len(first) else "A"


def test_both_orders_are_asked_and_a_verdict_that_turns_with_them_is_a_tie(ledger: Ledger) -> None:
    oracle = Stubborn()
    (torn, sure) = record(oracle, ledger, "both").judge([pair("abc", "abd"), pair("a", "abcdef")])
    assert torn.verdict is Verdict.TIE
    assert sure.verdict is Verdict.SECOND
    assert len(oracle.asked) == 4
    assert [len(item.keys) for item in (torn, sure)] == [2, 2]
    assert replay(oracle, ledger, "both").judge([pair("abc", "abd"), pair("a", "abcdef")]) == [torn, sure]
    assert len(oracle.asked) == 4


def test_wrappers_work_on_what_is_recorded_and_cost_no_call(ledger: Ledger) -> None:
    plain = record(Longest(), ledger).judge(pairs(50))
    flipped = replay(Wrapped(Longest(), (Flip(1.0),)), ledger).judge(pairs(50))
    assert [item.verdict for item in flipped] == [item.verdict.unswap(swapped=True) for item in plain]
    assert [item.keys for item in flipped] == [item.keys for item in plain]
    assert [item.p_first for item in flipped] == [1 - (item.p_first or 0) for item in plain]


def test_wrappers_within_wrappers_ask_all_that_they_need_and_read_it_in_its_place(ledger: Ledger) -> None:
    oracle = Stubborn()
    source = Wrapped(oracle, (BothOrders(), Repeat(3)))
    (judged,) = record(source, ledger).judge([pair("a", "abcdef")])
    assert judged.verdict is Verdict.SECOND
    assert len(oracle.asked) == len(set(judged.keys)) == 6
    assert {record.request["repeat"] for record in judged.records} == {0, 1, 2}


# Asking again


class Fickle(Longest):
    """Says the opposite of the longer text from the second time on."""

    def answer(self, first: str, second: str) -> str:
        honest = super().answer(first, second)
        return {"A": "B", "B": "A"}.get(honest, honest) if self.asked.count((first, second)) > 1 else honest


def test_a_refresh_asks_all_again_beside_what_is_there_and_goes_by_the_new(ledger: Ledger) -> None:
    oracle = Fickle()
    old = record(oracle, ledger).judge(pairs(20))
    refreshing = Judging(oracle, ledger, Manner(Mode.REFRESH, "random", generation=1))
    new = refreshing.judge(pairs(20))
    assert [item.verdict for item in new] == [item.verdict.unswap(swapped=True) for item in old]
    assert len(refreshing.reasked) == 20
    assert all(item.before is item.after.unswap(swapped=True) for item in refreshing.reasked)
    assert replay(oracle, ledger).judge(pairs(20)) == old, "what was there is still there"
    again = Judging(oracle, ledger, Manner(Mode.REFRESH, "random", generation=1))
    assert again.judge(pairs(20)) == new
    assert len(oracle.asked) == 40, "the same generation is not paid for twice"


def test_an_audit_asks_a_sample_again_and_goes_by_what_was_recorded(ledger: Ledger) -> None:
    oracle = Fickle()
    old = record(oracle, ledger).judge(pairs(400))
    audit = Judging(oracle, ledger, Manner(Mode.AUDIT, "random", generation=1))
    assert audit.judge(pairs(400)) == old
    num_again = len(oracle.asked) - 400
    assert 5 <= num_again == len(audit.reasked) <= 40
    assert all(isinstance(item, Reasked) and item.before is not item.after for item in audit.reasked)
    assert replay(oracle, ledger).judge(pairs(400)) == old


def test_off_asks_and_leaves_the_ledger_alone(ledger: Ledger) -> None:
    oracle = Longest()
    off = Judging(oracle, ledger, Manner(Mode.OFF, "random"))
    judged = off.judge(pairs(10))
    assert list(ledger.records()) == []
    assert off.judge(pairs(10)) == judged
    assert len(oracle.asked) == 10, "within a run it remembers"
    assert [item.verdict for item in judged] == [item.verdict for item in record(Longest(), ledger).judge(pairs(10))]


@pytest.mark.parametrize(("mode", "generation"), [(Mode.REFRESH, 0), (Mode.RECORD, 1), (Mode.OFF, 2)])
def test_a_generation_belongs_to_asking_again(mode: Mode, generation: int) -> None:
    with pytest.raises(SpecError, match=f"generation is {generation}; expected"):
        Manner(mode, "random", generation)
