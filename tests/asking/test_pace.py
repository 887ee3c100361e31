"""How many calls run at once: up while the provider keeps up, down when it says so, and up again after a bad spell."""

from __future__ import annotations

from itertools import pairwise

from apl_bench.asking.pace import Pace


def replies(pace: Pace, num: int) -> None:
    for _ in range(num):
        pace.succeeded()


def test_a_bad_spell_is_recovered_from() -> None:
    pace = Pace(64)
    replies(pace, 100)
    assert pace.limit == 64
    for second in range(200):
        pace.throttled(pace.sent(pace.limit), float(second), 0.2)
    assert pace.limit == 1
    replies(pace, 3000)
    assert pace.limit > 40, "the provider is well again"


def test_a_ceiling_is_tried_more_and_more_rarely() -> None:
    pace, refused = Pace(64), []
    for number in range(200_000):
        if pace.limit > 8:
            refused.append(number)
            pace.throttled(pace.sent(9), 0.0, 0.0)
        else:
            pace.succeeded()
    assert len(refused) < 60
    assert refused[-1] - refused[-2] > 10 * (refused[2] - refused[1])


def test_a_try_that_is_refused_goes_back_to_what_held() -> None:
    """A provider may still count calls that have come home: the refused one was not the last one sent."""
    pace = Pace(64)
    replies(pace, 60)
    pace.throttled(pace.sent(9), 0.0, None)
    replies(pace, 1)
    before = pace.sent(8)
    replies(pace, 80)
    assert pace.limit == 9
    refused = [pace.sent(6), pace.sent(7)]
    for ticket in [*refused, before]:
        pace.throttled(ticket, 0.0, None)
        assert pace.limit == 8


def test_what_was_sent_before_a_cut_does_not_cut_again() -> None:
    pace = Pace(64)
    replies(pace, 60)
    burst = [pace.sent(num) for num in (33, 34, 35, 2, 1)]
    for ticket in burst:
        pace.throttled(ticket, 0.0, None)
    assert pace.ceiling == 16, "the two that were sent when few were in flight say little, and do no more than halve it"


def test_refusals_without_a_time_pause_longer_and_longer_until_a_reply_comes() -> None:
    pace, pauses = Pace(8), []
    for second in range(6):
        now_s = 1000.0 * second
        pace.throttled(pace.sent(2), now_s, None)
        pauses.append(pace.not_before - now_s)
    assert all(after > 1.5 * before for before, after in pairwise(pauses))
    pace.succeeded()
    pace.throttled(pace.sent(2), 10_000.0, None)
    assert pace.not_before - 10_000.0 < 0.03
