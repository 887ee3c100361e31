"""What wrappers make of readings: the laws they keep, and how often noise strikes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.oracles.wrappers import Abstain, BothOrders, Flip, NoisyWrapper, PositionBias, Repeat
from apl_bench.protocols import Wrapper
from apl_bench.registry import WRAPPERS
from apl_bench.types import Comparison, Completion, Pair, Prompt, Reading, Reply, SpecError, Verdict
from apl_bench.wrapping import Wrapped
from tests.fakes import FakeOracle

FIRST, SECOND, TIE, INVALID = Verdict.FIRST, Verdict.SECOND, Verdict.TIE, Verdict.INVALID
NOISY: list[type[NoisyWrapper]] = [Flip, Abstain, PositionBias]
NUM = 10_000

TEXTS = st.text(max_size=8)
VERDICTS = st.sampled_from(Verdict)
RATES = st.floats(0, 1)


def comparison(prompt: str, first: str, second: str, swapped: bool = False, repeat: int = 0) -> Comparison:
    sides = (Completion(text, (1,), finished=True) for text in (first, second))
    return Comparison(Pair(Prompt("p", prompt), *sides), swapped, repeat)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    verdict = draw(VERDICTS)
    return Reading(verdict, None if verdict is INVALID else draw(st.none() | st.floats(0, 1)))


COMPARISONS = st.builds(comparison, TEXTS, TEXTS, TEXTS, st.booleans(), st.integers(0, 5))
WRAPPERS_DRAWN: st.SearchStrategy[Wrapper] = st.one_of(
    st.builds(lambda kind, rate, seed: kind(rate, seed), st.sampled_from(NOISY), RATES, st.integers(0, 3)),
    st.builds(BothOrders),
    st.builds(Repeat, st.integers(1, 4)),
)


def exchanged(asked: Comparison) -> Comparison:
    """The same page from the pair whose two completions changed places."""
    pair = asked.pair
    return Comparison(Pair(pair.prompt, pair.second, pair.first), not asked.swapped, asked.repeat)


def pages(num: int = NUM) -> list[Comparison]:
    return [comparison("The film", f" one {number}", f" two {number}") for number in range(num)]


def near(rate: float) -> Any:
    """A share of NUM draws that is within four standard errors of this rate."""
    return pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / NUM))


def share(wrapper: NoisyWrapper) -> float:
    return sum(map(wrapper.acts, pages())) / NUM


class Written(FakeOracle):
    """Says what the prompt says, one letter for each repeat (1, 2, =, ?); swapping swaps 1 and 2."""

    def _reply(self, comparison: Comparison) -> Reply:
        letter = comparison.pair.prompt.text[comparison.repeat]
        return Reply(letter.translate(str.maketrans("12", "21")) if comparison.swapped else letter, model="")


def same(reading: Reading, verdict: Verdict, p_first: float | None) -> bool:
    """Whether this was read, to the last digits of the probability."""
    return reading.verdict is verdict and (reading.p_first == pytest.approx(p_first))


def wrapped_verdict(says: str, *wrappers: Wrapper) -> Reading:
    """What an oracle that says this comes to in wrappers, the innermost first."""
    source, asked = Wrapped(Written(), wrappers), comparison(says, "a", "b")
    return source.read(asked, list(source.oracle.ask(source.leaves(asked))))


# Laws of every wrapper


@given(WRAPPERS_DRAWN, COMPARISONS, st.data())
def test_the_same_page_gets_the_same_verdict_whichever_completion_is_called_first(
    wrapper: Wrapper, asked: Comparison, data: st.DataObject
) -> None:
    other = exchanged(asked)
    assert [leaf.shown for leaf in wrapper.expand(other)] == [leaf.shown for leaf in wrapper.expand(asked)]
    read = [data.draw(readings()) for _ in wrapper.expand(asked)]
    one, two = wrapper.combine(asked, read), wrapper.combine(other, read)
    assert one == two
    assert one.verdict.unswap(asked.swapped) is two.verdict.unswap(other.swapped).unswap(True)


@given(WRAPPERS_DRAWN, COMPARISONS, st.data())
def test_a_combination_is_a_reading(wrapper: Wrapper, asked: Comparison, data: st.DataObject) -> None:
    read = [data.draw(readings()) for _ in wrapper.expand(asked)]
    combined = wrapper.combine(asked, read)
    assert combined == wrapper.combine(asked, read)
    assert combined.p_first is None or 0 <= combined.p_first <= 1


@given(WRAPPERS_DRAWN, COMPARISONS)
def test_what_nobody_could_read_never_becomes_a_vote(wrapper: Wrapper, asked: Comparison) -> None:
    assert wrapper.combine(asked, [Reading(INVALID)] * len(wrapper.expand(asked))) == Reading(INVALID)


@given(st.lists(WRAPPERS_DRAWN, max_size=3), COMPARISONS)
def test_wrappers_compose(wrappers: list[Wrapper], asked: Comparison) -> None:
    """Inside out: a chain is its outermost wrapper around the rest of the chain."""
    source, oracle = Wrapped(FakeOracle(), tuple(wrappers)), FakeOracle()

    def read(comparison: Comparison, rest: Sequence[Wrapper]) -> Reading:
        if not rest:
            return oracle.read(next(iter(oracle.ask([comparison]))))
        inner = [read(leaf, rest[:-1]) for leaf in rest[-1].expand(comparison)]
        return rest[-1].combine(comparison, inner)

    replies = list(oracle.ask(source.leaves(asked)))
    assert source.read(asked, replies) == read(asked, wrappers)


@pytest.mark.parametrize("name", WRAPPERS.names())
def test_the_registry_says_what_the_class_says(name: str) -> None:
    assert WRAPPERS.entry(name).summary == WRAPPERS.load(name).summary


# Noise


@given(st.sampled_from(NOISY), st.integers(0, 9), COMPARISONS, readings())
def test_rate_0_changes_nothing(kind: type[NoisyWrapper], seed: int, asked: Comparison, reading: Reading) -> None:
    assert kind(0, seed).combine(asked, [reading]) == reading


@given(st.integers(0, 9), COMPARISONS, readings())
def test_rate_1_always_acts(seed: int, asked: Comparison, reading: Reading) -> None:
    flipped, abstained, biased = (kind(1, seed).combine(asked, [reading]) for kind in NOISY)
    if reading.verdict is INVALID:
        assert flipped == abstained == biased == reading
        return
    opposite = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}[reading.verdict]
    p_first = reading.p_first
    assert flipped.verdict is opposite
    assert flipped.p_first == (p_first if p_first is None or opposite is TIE else 1 - p_first)
    assert abstained == Reading(TIE)
    assert biased == Reading(FIRST, None if p_first is None else 1.0)


@pytest.mark.parametrize("kind", NOISY)
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.93])
def test_noise_strikes_at_its_rate(kind: type[NoisyWrapper], rate: float) -> None:
    assert share(kind(rate)) == near(rate)


@given(st.sampled_from(NOISY), COMPARISONS, RATES, RATES)
def test_where_a_small_rate_acts_a_larger_one_does_too(
    kind: type[NoisyWrapper], asked: Comparison, one: float, other: float
) -> None:
    assert kind(min(one, other)).acts(asked) <= kind(max(one, other)).acts(asked)


@pytest.mark.parametrize(
    ("one", "other"),
    [(Flip(0.5), Abstain(0.5)), (Flip(0.5), PositionBias(0.5)), (Abstain(0.5), PositionBias(0.5)),
     (Flip(0.5, seed=0), Flip(0.5, seed=1)), (Abstain(0.5, seed=1), Abstain(0.5, seed=11))],
)  # fmt: skip
def test_other_names_and_other_seeds_are_independent(one: NoisyWrapper, other: NoisyWrapper) -> None:
    """Of two independent fair coins, both come up on a quarter of the pages."""
    both = sum(one.acts(page) and other.acts(page) for page in pages()) / NUM
    assert both == near(0.25)


@pytest.mark.parametrize("change", ["swap", "repeat", "prompt"])
def test_other_pages_and_other_repeats_are_independent(change: str) -> None:
    wrapper = Flip(0.5)
    changes: dict[str, Callable[[Comparison], Comparison]] = {
        "swap": lambda page: page.swap(),
        "repeat": lambda page: Comparison(page.pair, page.swapped, page.repeat + 1),
        "prompt": lambda page: comparison("The movie", page.pair.first.text, page.pair.second.text),
    }
    both = sum(wrapper.acts(page) and wrapper.acts(changes[change](page)) for page in pages()) / NUM
    assert both == near(0.25)


def test_texts_that_only_join_alike_are_different_pages() -> None:
    wrapper = Flip(0.5)
    moved = [(comparison("p", f"{n}a", "b"), comparison("p", f"{n}", "ab")) for n in range(1000)]
    assert 0.3 < sum(wrapper.acts(one) == wrapper.acts(other) for one, other in moved) / 1000 < 0.7


def test_the_noise_of_the_first_release_stands() -> None:
    """If these change, recorded runs replay to other labels."""
    acted = ["".join("x" if kind(0.5).acts(page) else "." for page in pages(24)) for kind in NOISY]
    assert acted == [".x.xxxx.xxx.xx.x..xx.x.x", "xxxx.....x..x.x.xxx.x..x", "x.xxxx....x..x.xxxxx..xx"]


# Several questions, one answer


@pytest.mark.parametrize(
    ("straight", "swapped", "expected"),
    [
        (FIRST, SECOND, FIRST), (SECOND, FIRST, SECOND), (TIE, TIE, TIE),  # agreement
        (FIRST, FIRST, TIE), (SECOND, SECOND, TIE), (FIRST, TIE, TIE), (TIE, FIRST, TIE), (SECOND, TIE, TIE),
        (INVALID, FIRST, INVALID), (SECOND, INVALID, INVALID), (INVALID, INVALID, INVALID), (TIE, INVALID, INVALID),
    ],
)  # fmt: skip
def test_both_orders_have_to_agree(straight: Verdict, swapped: Verdict, expected: Verdict) -> None:
    asked = comparison("p", "a", "b")
    assert BothOrders().combine(asked, [Reading(straight), Reading(swapped)]) == Reading(expected)


def test_both_orders_are_asked_and_their_probabilities_averaged() -> None:
    asked = comparison("p", "a", "b", swapped=True, repeat=2)
    assert [leaf.shown for leaf in BothOrders().expand(asked)] == [("b", "a"), ("a", "b")]
    assert [leaf.repeat for leaf in BothOrders().expand(asked)] == [2, 2]
    # 0.9 for "b" when it stands first, 0.4 for "a" when it does, so 0.6 for "b": 0.75
    combined = BothOrders().combine(asked, [Reading(FIRST, 0.9), Reading(SECOND, 0.4)])
    assert same(combined, FIRST, 0.75)
    assert BothOrders().combine(asked, [Reading(FIRST, 0.9), Reading(SECOND)]) == Reading(FIRST)


def test_both_orders_make_a_tie_of_position_bias() -> None:
    assert wrapped_verdict("1", PositionBias(1), BothOrders()) == Reading(TIE)
    assert wrapped_verdict("2", BothOrders(), PositionBias(1)) == Reading(FIRST)


@pytest.mark.parametrize(
    ("says", "expected", "p_first"),
    [
        ("112", FIRST, 2 / 3), ("212", SECOND, 1 / 3), ("12", TIE, 0.5), ("===", TIE, 0.5),
        ("1====", FIRST, 0.6),  # ties do not vote
        ("12=", TIE, 0.5),
        ("1??1", FIRST, 1.0),  # half of them invalid: the other half decides
        ("1??", INVALID, None), ("???", INVALID, None), ("??", INVALID, None),
        ("1", FIRST, None), ("?", INVALID, None),  # once is the answer itself
    ],
)  # fmt: skip
def test_a_majority_of_the_votes_wins(says: str, expected: Verdict, p_first: float | None) -> None:
    assert same(wrapped_verdict(says, Repeat(len(says))), expected, p_first)


def test_probabilities_are_averaged_where_all_valid_answers_have_one() -> None:
    asked = comparison("p", "a", "b")
    read = [Reading(FIRST, 0.9), Reading(SECOND, 0.2), Reading(FIRST, 0.7), Reading(INVALID)]
    assert same(Repeat(4).combine(asked, read), FIRST, 0.6)
    some = [Reading(FIRST, 0.9), Reading(SECOND), Reading(FIRST, 0.7), Reading(INVALID)]
    assert same(Repeat(4).combine(asked, some), FIRST, 2 / 3)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 3))
def test_nested_repeats_ask_each_number_once(nums: list[int], repeat: int) -> None:
    source = Wrapped(FakeOracle(), tuple(map(Repeat, nums)))
    asked = source.leaves(comparison("p", "a", "b", repeat=repeat))
    total = math.prod(nums)
    assert [leaf.repeat for leaf in asked] == list(range(repeat * total, (repeat + 1) * total))


def test_a_repeated_noisy_oracle_is_noisy_anew_each_time() -> None:
    """Three votes of which each is wrong with probability 0.3: the majority is wrong in 3 * 0.09 * 0.7 + 0.027."""
    source = Wrapped(FakeOracle(), (Flip(0.3), Repeat(3)))
    wrong = sum(source.read(page, [Reply("1", "")] * 3).verdict is SECOND for page in pages())
    assert wrong / NUM == near(0.216)


# What a user may write


@pytest.mark.parametrize("name", ["flip", "abstain", "position_bias"])
@pytest.mark.parametrize("rate", [-0.1, 1.01, math.nan, math.inf, True, "0.1", None])
def test_a_rate_is_a_number_from_0_to_1(name: str, rate: Any) -> None:
    with pytest.raises(SpecError, match=r"rate is .*; expected a number from 0 to 1"):
        WRAPPERS.create(name, {"rate": rate})


@pytest.mark.parametrize("num", [0, -1, 1.0, True, "3", 1001, None])
def test_a_number_of_repeats_is_whole(num: Any) -> None:
    with pytest.raises(SpecError, match=r"num is .*; expected a whole number from 1 to 1000"):
        WRAPPERS.create("repeat", {"num": num})


@pytest.mark.parametrize("seed", [-1, 0.5, True, "x", 2**53])
def test_a_seed_is_whole(seed: Any) -> None:
    with pytest.raises(SpecError, match=r"seed is .*; expected a whole number from 0"):
        WRAPPERS.create("flip", {"rate": 0.1, "seed": seed})
