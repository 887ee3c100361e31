"""Counts of verdicts, and what may be said of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.tally import Tally
from apl_bench.types import Verdict


def test_the_first_shown_wins_when_the_shown_order_says_first() -> None:
    won, lost = [(Verdict.FIRST, False), (Verdict.SECOND, True)], [(Verdict.SECOND, False), (Verdict.FIRST, True)]
    assert Tally.of([*won, *lost, (Verdict.TIE, True)]).first_shown_wins == 2


def test_a_win_rate_by_hand() -> None:
    tally = Tally(wins=5, losses=2, ties=2, invalid=1, first_shown_wins=4)
    rate = tally.win_rate()
    assert tally.total == 10
    assert rate is not None
    assert (rate.rate, rate.worst, rate.best) == (6 / 9, 6 / 10, 7 / 10)


def test_there_is_no_win_rate_without_a_valid_verdict() -> None:
    assert Tally(wins=0, losses=0, ties=0, invalid=4, first_shown_wins=0).win_rate() is None
    assert Tally.of([]).win_rate() is None


@pytest.mark.parametrize(("invalid", "sound"), [(0, True), (1, True), (2, False)])
def test_above_one_percent_invalid_is_not_sound(invalid: int, sound: bool) -> None:
    assert Tally(wins=100 - invalid, losses=0, ties=0, invalid=invalid, first_shown_wins=0).sound is sound


@given(st.lists(st.tuples(st.sampled_from(Verdict), st.booleans())))
def test_a_tally_loses_nothing_and_turns_round(verdicts: list[tuple[Verdict, bool]]) -> None:
    tally = Tally.of(verdicts)
    turned = Tally.of((verdict.unswap(swapped=True), not swapped) for verdict, swapped in verdicts)
    assert tally.total == len(verdicts)
    assert (tally.wins, tally.losses, tally.ties, tally.invalid) == (
        turned.losses,
        turned.wins,
        turned.ties,
        turned.invalid,
    )
    assert tally.first_shown_wins == turned.first_shown_wins
    rate, other = tally.win_rate(), turned.win_rate()
    if rate is not None and other is not None:
        assert rate.rate == pytest.approx(1 - other.rate)
        assert rate.worst <= rate.rate <= rate.best
        assert rate.worst == pytest.approx(1 - other.best)
