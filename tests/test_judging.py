"""From pairs to verdicts: who is asked what, in which order, how often, and what the answer counts for."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.asking.asking import CHUNK
from apl_bench.failures import OracleError
from apl_bench.judging import ORDER_SALT, Judged, Manner, Mode, preference, presented
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.types import Comparison, Completion, Pair, Prompt, Reading, Reply, SpecError, Verdict
from tests.judges import Flaky, Longest, ProviderDownError, Unreadable, pair, pairs, record, replay

texts = st.text(st.characters(exclude_categories=["Cs"]))


# Presentation order


@given(texts, texts, texts)
def test_exchanging_the_two_shows_the_same_page(prompt: str, first: str, second: str) -> None:
    one, other = (
        presented(item, "random", "salt") for item in (pair(first, second, prompt), pair(second, first, prompt))
    )
    assert one.shown == other.shown
    assert set(one.shown) == {first, second}
    assert one.swapped != other.swapped or first == second


def test_the_order_depends_on_prompt_texts_and_salt_and_is_balanced() -> None:
    def bits(prompt: str, salt: str) -> list[bool]:
        return [presented(pair("a", f"b{i}", prompt), "random", salt).swapped for i in range(1000)]

    assert 420 < sum(bits("p", "s")) < 580  # 5 standard deviations of a fair coin: 79
    assert len({tuple(bits(prompt, salt)) for prompt in "pq" for salt in "st"}) == 4


def test_texts_that_run_together_are_told_apart() -> None:
    def bits(cut: int) -> list[bool]:
        halves = [(f"{i:020d}"[:cut], f"{i:020d}"[cut:]) for i in range(200)]
        return [presented(pair("", right, left), "random", "salt").swapped for left, right in halves]

    assert bits(18) != bits(19)


ORDER = """
from apl_bench.judging import ORDER_SALT, presented
from apl_bench.types import Completion, Pair, Prompt
pair = lambda i: Pair(Prompt("p", "The film"), Completion(f"good {i}", (), True), Completion(f"bad {i}", (), True))
print("".join(str(int(presented(pair(i), "random", ORDER_SALT).swapped)) for i in range(32)))
"""


def test_the_order_is_the_same_in_every_process_and_whatever_the_global_generator_says() -> None:
    """Golden: these bits are part of every published key; paper.md, where public code goes wrong, 7."""
    random.seed(1)
    here = "".join(str(int(presented(pair(f"good {i}", f"bad {i}"), "random", ORDER_SALT).swapped)) for i in range(32))
    for seed in ("1", "2"):
        command = [sys.executable, "-c", f"import random; random.seed({seed})\n{ORDER}"]
        there = subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        assert there.strip() == here
    assert here == "01011110010110000110000001111101"


def test_fixed_order_shows_the_pair_as_it_is() -> None:
    assert not any(presented(item, "fixed", "salt").swapped for item in pairs(50))


def test_an_unknown_order_is_refused(ledger: Ledger) -> None:
    with pytest.raises(SpecError, match="Did you mean 'random'"):
        presented(pair("a", "b"), "randon", "salt")
    with pytest.raises(SpecError, match=r"no presentation order called 'bot'\. Did you mean 'both'"):
        Manner(Mode.RECORD, "bot")


# Verdicts


def test_verdicts_are_in_the_pairs_own_order_and_in_its_place(ledger: Ledger) -> None:
    judged = record(Longest(), ledger).judge(pairs(40))
    assert [item.pair for item in judged] == pairs(40)
    assert [item.verdict for item in judged] == [Verdict.SECOND, Verdict.FIRST] * 20
    assert [item.p_first for item in judged] == [0.25, 0.75] * 20
    assert {item.swapped for item in judged} == {True, False}, "both orders must have been tried"


def test_exchanging_the_two_exchanges_the_verdict_and_asks_nothing_new(ledger: Ledger) -> None:
    oracle = Longest()
    judging = record(oracle, ledger)
    exchange = {Verdict.FIRST: Verdict.SECOND, Verdict.SECOND: Verdict.FIRST, Verdict.TIE: Verdict.TIE}
    there = judging.judge([*pairs(20), pair("ab", "cd")])
    back = judging.judge([Pair(item.pair.prompt, item.pair.second, item.pair.first) for item in there])
    assert [exchange[item.verdict] for item in there] == [item.verdict for item in back]
    assert [item.keys for item in there] == [item.keys for item in back]
    assert len(oracle.asked) == 21


def test_an_unreadable_answer_is_invalid_and_never_a_letter_a_tie_or_a_coin(ledger: Ledger) -> None:
    """Paper.md, where public code goes wrong, 4."""
    judged = record(Unreadable(), ledger).judge(pairs(30))
    assert [item.verdict for item in judged] == [Verdict.INVALID] * 30
    assert {preference(item.pair, item.verdict, 1) for item in judged} == {None}


def test_identical_completions_are_a_tie_and_nobody_is_asked(ledger: Ledger) -> None:
    oracle = Longest()
    same = Pair(Prompt("p", "The film"), Completion("is", (1,), True), Completion("is", (2, 3), False))
    (judged,) = record(oracle, ledger).judge([same])
    assert judged == Judged(same, Verdict.TIE, None, swapped=False, keys=(), records=())
    assert oracle.asked == []
    assert replay(oracle, ledger).judge([same]) == [judged]


def test_a_better_reader_needs_no_new_call(ledger: Ledger) -> None:
    class Contrary(Longest):
        def read(self, reply: Reply) -> Reading:
            return Reading(super().read(reply).verdict.unswap(swapped=True))

    before = record(Longest(), ledger).judge(pairs(10))
    again = replay(Contrary(), ledger).judge(pairs(10))
    assert [item.verdict.unswap(swapped=True) for item in before] == [item.verdict for item in again]


@pytest.mark.parametrize("p_first", [-0.1, 1.1, float("nan")])
def test_a_probability_that_is_none_is_refused(ledger: Ledger, p_first: float) -> None:
    class Odd(Longest):
        def read(self, reply: Reply) -> Reading:
            return Reading(Verdict.FIRST, p_first)

    with pytest.raises(OracleError, match=r"Odd\.read gave p_first = .*expected a number from 0 to 1"):
        record(Odd(), ledger).judge(pairs(1))


# Asking


def test_nothing_is_asked_twice(ledger: Ledger) -> None:
    oracle = Longest()
    one, other = pairs(2)
    judged = record(oracle, ledger).judge([one, other, one, one])
    assert [item.verdict for item in judged] == [Verdict.SECOND, Verdict.FIRST, Verdict.SECOND, Verdict.SECOND]
    assert len(oracle.asked) == 2
    assert record(oracle, ledger).judge([other, one])[0] == judged[1]
    assert len(oracle.asked) == 2


def test_a_retry_shows_the_same_page_and_keeps_the_label(ledger: Ledger) -> None:
    """Paper.md, where public code goes wrong, 3: an oracle that was down must not flip the order, or the label."""
    steady = Longest()
    expected = [item.verdict for item in record(steady, ledger).judge(pairs(40))]
    flaky, failing = Flaky(healthy=0), []
    judging = record(flaky, Ledger(ledger.folder.parent / "other"))
    for _ in range(2):
        try:
            failing.append(judging.judge(pairs(40)))
        except ProviderDownError:
            failing.append([])
    assert failing[0] == []
    assert [item.verdict for item in failing[1]] == expected
    assert flaky.asked == steady.asked


def test_what_was_answered_before_a_failure_is_kept_and_not_asked_again(ledger: Ledger) -> None:
    oracle = Flaky(healthy=2)
    many = pairs(3 * CHUNK + 5)
    with pytest.raises(ProviderDownError):
        record(oracle, ledger).judge(many)
    with Ledger(ledger.folder) as elsewhere:
        assert len(list(elsewhere.records())) == 2 * CHUNK
    judged = record(oracle, ledger).judge(many)
    assert len(judged) == len(many)
    assert len(oracle.asked) == len(set(oracle.asked)) == len(many)


def test_an_invalid_answer_has_spent_its_label_and_is_not_asked_again(ledger: Ledger) -> None:
    """Paper.md, where public code goes wrong, 9: a label that failed is not quietly bought once more, nor replaced."""
    oracle = Unreadable()
    first = record(oracle, ledger).judge(pairs(10))
    second = record(oracle, ledger).judge(pairs(10))
    assert first == second
    assert len(first) == 10
    assert len(oracle.asked) == 10


def test_a_failure_to_answer_is_raised_and_stores_nothing(ledger: Ledger) -> None:
    """Paper.md, where public code goes wrong, 9: no verdict takes the place of an answer that never came."""
    with pytest.raises(ProviderDownError):
        record(Flaky(healthy=0), ledger).judge(pairs(3))
    assert list(ledger.records()) == []


@pytest.mark.parametrize("num_replies", [0, 2, 4])
def test_an_oracle_that_answers_too_little_or_too_much_is_refused(ledger: Ledger, num_replies: int) -> None:
    class Miscounting(Longest):
        def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
            return [Reply("A", "m")] * num_replies

    seen = "more than 3" if num_replies > 3 else str(num_replies)
    with pytest.raises(OracleError, match=f"returned {seen} replies to 3 comparisons"):
        record(Miscounting(), ledger).judge(pairs(3))
    assert list(ledger.records()) == []


def test_what_arrived_before_a_failure_is_kept_and_not_paid_for_again(ledger: Ledger) -> None:
    class Dropping(Longest):
        def ask(self, comparisons: Sequence[Comparison]) -> Iterator[Reply]:  # type: ignore[override]
            yield from list(super().ask(comparisons))[:3]
            raise ProviderDownError

    with pytest.raises(ProviderDownError):
        record(Dropping(), ledger).judge(pairs(5))
    assert len(list(ledger.records())) == 3
    oracle = Longest()
    assert record(oracle, ledger).judge(pairs(5)) == record(Longest(), ledger).judge(pairs(5))
    assert len(oracle.asked) == 2


def test_the_first_writers_answer_is_the_answer(ledger: Ledger) -> None:
    """Another process asks the same while we do: its answer came first, so both of us go by it."""

    class Overtaken(Longest):
        def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
            with Ledger(ledger.folder) as other:
                other.add([Record.of(self.request(comparison), Reply("C", "m")) for comparison in comparisons])
            return super().ask(comparisons)

    assert {item.verdict for item in record(Overtaken(), ledger).judge(pairs(4))} == {Verdict.TIE}
    assert {item.verdict for item in replay(Longest(), ledger).judge(pairs(4))} == {Verdict.TIE}


# What it counts for


def judged(verdict: Verdict, swapped: bool = False) -> Judged:
    return Judged(pair("first", "second"), verdict, None, swapped, ("key",), ())


def test_a_preference_is_the_winner_over_the_loser() -> None:
    shown = pair("first", "second")
    won, lost = preference(shown, Verdict.FIRST, 3), preference(shown, Verdict.SECOND, 3)
    assert won is not None
    assert lost is not None
    assert (won.chosen.text, won.rejected.text, won.step) == ("first", "second", 3)
    assert (lost.chosen.text, lost.rejected.text, lost.prompt) == ("second", "first", Prompt("p", "The film"))
    assert preference(shown, Verdict.TIE, 3) is None
    assert preference(shown, Verdict.INVALID, 3) is None
