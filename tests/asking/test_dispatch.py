"""Many calls at once: every comparison answered once, failures retried or told, caps never passed, nothing lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from apl_bench.asking.budget import CapReachedError, Caps, Meter, Spent
from apl_bench.asking.dispatch import Dispatcher, Patience
from apl_bench.asking.prices import Price
from apl_bench.failures import CallError, OracleError, Remedy
from apl_bench.types import Comparison, Reply, SpecError
from tests.asking.provider import ALLOWANCE, USAGE, Scripted, comparisons

QUICK = Patience(deadline_s=5.0, num_attempts=4, first_wait_s=0.001, longest_wait_s=0.01, farewell_s=1.0)
PRICE = Price(1.0, 10.0, 0.5, "test")
PER_CALL_USD = (80 * 1.0 + 10 * 10.0) / 1e6
MOST_A_CALL_USD = (100 * 1.0 + 50 * 10.0) / 1e6


@contextmanager
def dispatcher(caps: Caps | None = None, most: int = 16, patience: Patience = QUICK) -> Iterator[Dispatcher]:
    made = Dispatcher(Meter(caps or Caps()), most, patience)
    try:
        yield made
    finally:
        made.close()


def ask(made: Dispatcher, oracle: Scripted, num: int, price: Price | None = PRICE) -> dict[int, Reply]:
    return {place: reply for group in made.answers(oracle, comparisons(num), price) for place, reply in group}


def collect(made: Dispatcher, oracle: Scripted, num: int, replies: dict[int, Reply]) -> None:
    """As `ask`, into `replies`, so that they are there after a failure too."""
    for group in made.answers(oracle, comparisons(num), PRICE):
        replies.update(group)


def longer(num: int) -> dict[int, str]:
    return {place: "AB"[(place + 1) % 2] for place in range(num)}


def raws(replies: dict[int, Reply]) -> dict[int, str]:
    return {place: reply.raw for place, reply in sorted(replies.items())}


def test_every_comparison_is_asked_once_and_its_reply_comes_with_its_place() -> None:
    oracle = Scripted()
    with dispatcher() as made:
        assert raws(ask(made, oracle, 200)) == longer(200)
        assert made.meter.spent.calls == 200
    assert set(oracle.calls.values()) == {1}
    assert 4 < oracle.most_in_flight <= 16, "many at once, and never more than allowed"


def test_a_fault_of_the_moment_is_tried_again() -> None:
    faults = {"0003x": [CallError("down", Remedy.RETRY), CallError("down", Remedy.RETRY, retry_after_s=0.001)]}
    oracle = Scripted(faults)
    with dispatcher() as made:
        assert raws(ask(made, oracle, 10)) == longer(10)
        assert made.num_retries == 2
    assert oracle.calls["0003x"] == 3


def test_a_call_that_cannot_succeed_ends_it_and_what_was_in_flight_is_handed_over() -> None:
    oracle = Scripted({"0002": [CallError("no such model", Remedy.STOP)]})
    replies: dict[int, Reply] = {}
    with dispatcher() as made, pytest.raises(OracleError, match=r"^no such model$"):
        collect(made, oracle, 100, replies)
    num_succeeded = sum(oracle.calls.values()) - 1
    assert len(replies) == num_succeeded > 0
    assert num_succeeded < 30, "no more are sent once it is known"


def test_a_comparison_that_always_fails_ends_it_after_so_many_attempts() -> None:
    oracle = Scripted({"0002": [CallError("bad gateway", Remedy.RETRY)] * 99})
    with dispatcher() as made, pytest.raises(OracleError, match=r"bad gateway \(tried 4 times\)"):
        ask(made, oracle, 5)
    assert oracle.calls["0002"] == 4


def test_a_call_that_never_ends_is_given_up_after_its_deadline() -> None:
    class Stalled(Scripted):
        async def call(self, comparison: Comparison) -> Reply:
            self.calls[comparison.shown[0]] += 1
            if self.calls[comparison.shown[0]] == 1:
                await asyncio.sleep(60)
            return await super().call(comparison)

    with dispatcher(patience=Patience(deadline_s=0.05, first_wait_s=0.001)) as made:
        assert raws(ask(made, Stalled(), 3)) == longer(3)
        assert made.num_retries == 3


def test_a_provider_that_takes_few_at_once_gets_few_and_is_seldom_bothered() -> None:
    oracle = Scripted(at_once=7)
    with dispatcher(most=64) as made:
        assert raws(ask(made, oracle, 600)) == longer(600)
        assert made.pace_of(oracle).limit <= 8
    assert oracle.num_throttled < 40


def test_nothing_is_sent_before_the_provider_allows() -> None:
    sent: list[float] = []
    oracle = Scripted({"0000": [CallError("slow", Remedy.SLOW_DOWN, retry_after_s=0.2)]})
    oracle.during = lambda _comparison: sent.append(asyncio.get_running_loop().time())
    with dispatcher() as made:
        ask(made, oracle, 40)
    gaps = [after - before for before, after in pairwise(sent)]
    assert max(gaps) > 0.15, "a pause as long as was asked for"


def test_a_wait_longer_than_patience_is_told_and_not_slept_through() -> None:
    oracle = Scripted({"0000": [CallError("come back tomorrow", Remedy.SLOW_DOWN, retry_after_s=86400.0)]})
    with (
        dispatcher() as made,
        pytest.raises(OracleError, match=r"come back tomorrow.*no reply would have come for 864"),
    ):
        ask(made, oracle, 3)


@pytest.mark.parametrize(
    ("caps", "most_calls"),
    [
        (Caps(calls=7), 7),
        (Caps(tokens=1000), 10),
        (Caps(cost_usd=10 * PER_CALL_USD + MOST_A_CALL_USD), 11),
        (Caps(calls=0), 0),
    ],
)
def test_a_cap_is_never_passed_and_what_was_answered_is_handed_over(caps: Caps, most_calls: int) -> None:
    oracle = Scripted()
    replies: dict[int, Reply] = {}
    with dispatcher(caps) as made, pytest.raises(CapReachedError, match="What was answered is kept"):
        collect(made, oracle, 50, replies)
    assert len(replies) == sum(oracle.calls.values()) == most_calls
    spent = made.meter.spent
    assert spent.calls <= (caps.calls if caps.calls is not None else 999)
    assert spent.tokens <= (caps.tokens or 9**9)
    assert (spent.cost_usd or 0) <= (caps.cost_usd or 9**9)


def test_reservations_count_before_anything_is_answered() -> None:
    meter = Meter(Caps(tokens=2 * 150))
    meter.reserve(ALLOWANCE, None)
    second = meter.reserve(ALLOWANCE, None)
    with pytest.raises(CapReachedError, match="--max-tokens 300 would be passed"):
        meter.reserve(ALLOWANCE, None)
    meter.settle(second, {}, None)
    meter.reserve(ALLOWANCE, None)


def test_failed_calls_are_paid_for_too_where_the_provider_says_so() -> None:
    oracle = Scripted({"0000": [CallError("cut off", Remedy.RETRY, usage=USAGE)]})
    with dispatcher() as made:
        ask(made, oracle, 1)
        spent = made.meter.spent
        assert (spent.calls, spent.tokens) == (2, 180)
        assert spent.cost_usd == pytest.approx(2 * PER_CALL_USD)


def test_an_unknown_price_is_unknown_and_a_cap_on_dollars_then_refused() -> None:
    with dispatcher() as made:
        ask(made, Scripted(), 3, price=None)
        assert made.meter.spent == Spent(3, 270, None)
    with dispatcher(Caps(cost_usd=1.0)) as made, pytest.raises(SpecError, match="--price INPUT:OUTPUT"):
        ask(made, Scripted(), 3, price=None)


def test_no_call_is_sent_between_a_reply_and_the_moment_it_is_kept() -> None:
    oracle = Scripted()
    with dispatcher(most=4) as made:
        kept = 0
        for group in made.answers(oracle, comparisons(40), PRICE):
            assert sum(oracle.calls.values()) <= kept + len(group) + 4, "paid for: kept, just handed over, in flight"
            kept += len(group)


def test_an_interrupt_stops_sending_and_brings_home_what_is_in_flight() -> None:
    class Interrupting(Scripted):
        async def call(self, comparison: Comparison) -> Reply:
            if comparison.shown[0] == "0020":
                signal.raise_signal(signal.SIGINT)
            return await super().call(comparison)

    oracle = Interrupting()
    replies: dict[int, Reply] = {}
    with dispatcher(most=8) as made, pytest.raises(KeyboardInterrupt):
        collect(made, oracle, 500, replies)
    assert len(replies) == sum(oracle.calls.values())
    assert 10 < len(replies) < 60


def test_an_interrupt_while_replies_are_being_kept_loses_none() -> None:
    oracle = Scripted()
    replies: dict[int, Reply] = {}

    def interrupted_keeper(made: Dispatcher) -> None:
        for group in made.answers(oracle, comparisons(300), PRICE):
            if len(replies) > 20 and not interrupts:
                interrupts.append(len(replies))
                signal.raise_signal(signal.SIGINT)
            replies.update(group)

    interrupts: list[int] = []
    with dispatcher(most=8) as made, pytest.raises(KeyboardInterrupt):
        interrupted_keeper(made)
    assert len(replies) == sum(oracle.calls.values())
    assert interrupts
    assert len(replies) < 100


def test_an_oracle_that_is_throttled_does_not_slow_another() -> None:
    class Other(Scripted):
        pass

    with dispatcher(most=64) as made:
        ask(made, Scripted(at_once=2), 100)
        assert made.pace_of(Scripted()).limit <= 3
        assert made.pace_of(Other()).limit == 4, "as at the start"


def test_a_bug_in_a_backend_is_raised_as_it_is() -> None:
    class Broken(Scripted):
        async def call(self, comparison: Comparison) -> Reply:
            raise ZeroDivisionError

    with dispatcher() as made, pytest.raises(ZeroDivisionError):
        ask(made, Broken(), 3)
