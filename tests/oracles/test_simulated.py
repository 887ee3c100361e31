"""The simulated oracle against its closed form."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.checks import check_oracle
from apl_bench.oracles.classifier import Classifier
from apl_bench.oracles.simulated import REWARDS, Simulated
from apl_bench.registry import ORACLES
from apl_bench.types import JSON, Comparison, Completion, Pair, Prompt, Reading, Reply, SpecError, Verdict
from tests.fakes import FakeTask

FIRST, SECOND, TIE, INVALID = Verdict.FIRST, Verdict.SECOND, Verdict.TIE, Verdict.INVALID
QUIET: dict[str, Any] = {
    "reward": "length", "temperature": 0, "tie_margin": 0, "position_bias": 0, "invalid_rate": 0, "seed": 0,
}  # fmt: skip
NUM = 4000


def oracle(**changes: Any) -> Simulated:
    return Simulated(**{**QUIET, **changes})


def comparison(num_first: int, num_second: int, repeat: int = 0, prompt: str = "Film") -> Comparison:
    """Completions of so many words."""
    sides = (Completion(" w" * num, (1,), finished=True) for num in (num_first, num_second))
    return Comparison(Pair(Prompt("p", prompt), *sides), swapped=False, repeat=repeat)


def reading(asked: Simulated, shown: Comparison) -> Reading:
    return asked.read(asked.ask([shown])[0])


def shares(asked: Simulated, num_first: int, num_second: int) -> dict[Verdict, float]:
    """How often each verdict is given over many repeats."""
    repeats = [comparison(num_first, num_second, repeat) for repeat in range(NUM)]
    counts = Counter(asked.read(reply).verdict for reply in asked.ask(repeats))
    return {verdict: counts[verdict] / NUM for verdict in Verdict}


def near(rate: float) -> Any:
    """A share of NUM draws that is within four standard errors of this rate."""
    return pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / NUM))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize("reward", list(REWARDS))
def test_it_keeps_the_contract(reward: str) -> None:
    assert check_oracle(lambda: ORACLES.create("simulated", {**QUIET, "reward": reward})) == []


def test_the_registry_says_what_the_class_says() -> None:
    assert ORACLES.entry("simulated").summary == Simulated.summary


@pytest.mark.parametrize("part", ["oracle", "judge"])
def test_its_usual_parameters_are_an_oracle(part: str) -> None:
    usual = dict(Simulated.defaults(part, FakeTask))
    assert usual["reward"] == f"classifier-{part}"
    assert reading(ORACLES.create("simulated", usual), comparison(1, 2)).verdict in (FIRST, SECOND)  # type: ignore[arg-type]


# Rewards


@pytest.mark.parametrize(
    ("reward", "text", "value"),
    [
        ("length", "", 0), ("length", " two\nwords ", 2),
        ("positive-words", "A great, GREAT film; not bad, but the worst ending.", 0),  # great, great; bad, worst
        ("positive-words", "I loved it.", 1), ("positive-words", "greatest dullness", 0),
    ],
)  # fmt: skip
def test_a_known_reward_is_known(reward: str, text: str, value: float) -> None:
    assert oracle(reward=reward).reward(text) == value


@pytest.mark.parametrize("model", ["oracle", "judge"])
def test_the_classifiers_reward_is_its_score(model: str) -> None:
    text = "I saw this film and it was a wonderful experience."
    assert oracle(reward=f"classifier-{model}").reward(text) == Classifier(model).score([text])[0]


def test_what_is_rewarded_is_the_prompt_with_its_completion() -> None:
    sides = (Completion(text, (1,), finished=True) for text in ("ful", " terrible"))
    pair = Pair(Prompt("p", "It was wonder"), *sides)
    answer = json.loads(oracle(reward="positive-words").ask([Comparison(pair, swapped=False)])[0].raw)
    assert (answer["reward_first"], answer["reward_second"]) == (1, -1)


# The closed form


@pytest.mark.parametrize(
    ("num_first", "num_second", "margin", "expected", "p_first"),
    [(3, 2, 0, FIRST, 1), (2, 3, 0, SECOND, 0), (2, 2, 0, TIE, 0.5), (3, 2, 1, TIE, 1), (4, 2, 1, FIRST, 1)],
)
def test_at_temperature_0_the_higher_reward_wins(
    num_first: int, num_second: int, margin: float, expected: Verdict, p_first: float
) -> None:
    assert reading(oracle(tie_margin=margin), comparison(num_first, num_second)) == Reading(expected, p_first)


@pytest.mark.parametrize("difference", [-3, -1, 0, 1, 4])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_bradley_terry(difference: int, temperature: float) -> None:
    """p(FIRST) = sigmoid(d / T), the rest is SECOND, and p_first says so."""
    asked, p_first = oracle(temperature=temperature), sigmoid(difference / temperature)
    given = shares(asked, 5 + difference, 5)
    assert given == {FIRST: near(p_first), SECOND: near(1 - p_first), TIE: 0, INVALID: 0}
    assert reading(asked, comparison(5 + difference, 5)).p_first == pytest.approx(p_first, abs=1e-6)


def test_ties_bias_and_unreadable_replies_have_their_rates() -> None:
    """d = 1, T = 2, m = 1.5, b = 0.2, i = 0.1: sigmoid(-0.25) = 0.437823, sigmoid(-1.25) = 0.222700;
    FIRST 0.9 * (0.2 + 0.8 * 0.437823) = 0.495233, SECOND 0.72 * 0.2227 = 0.160344, TIE 0.72 * 0.339477 = 0.244423."""
    asked = oracle(temperature=2, tie_margin=1.5, position_bias=0.2, invalid_rate=0.1)
    expected = {FIRST: 0.495233, SECOND: 0.160344, TIE: 0.244423, INVALID: 0.1}
    chances = asked.chances(comparison(6, 5))
    assert [chances.first, chances.second, chances.tie, chances.invalid] == pytest.approx(
        list(expected.values()), abs=2e-6
    )
    assert chances.p_first == pytest.approx(sigmoid(0.5), abs=1e-6)
    assert shares(asked, 6, 5) == {verdict: near(rate) for verdict, rate in expected.items()}


@pytest.mark.parametrize(
    ("changes", "expected"), [({"position_bias": 1}, FIRST), ({"invalid_rate": 1, "position_bias": 1}, INVALID)]
)
def test_rate_1_always_acts(changes: dict[str, float], expected: Verdict) -> None:
    assert shares(oracle(**changes), 1, 9)[expected] == 1


@given(
    st.integers(0, 30), st.integers(0, 30), st.floats(0, 50), st.floats(0, 20), st.floats(0, 1), st.floats(0, 1)
)  # fmt: skip
def test_chances_are_probabilities(
    num_first: int, num_second: int, temperature: float, margin: float, bias: float, invalid: float
) -> None:
    asked = oracle(temperature=temperature, tie_margin=margin, position_bias=bias, invalid_rate=invalid)
    chances = asked.chances(comparison(num_first, num_second))
    each = (chances.first, chances.second, chances.tie, chances.invalid)
    assert min(each) >= 0
    assert sum(each) == pytest.approx(1, abs=3e-6)
    other = asked.chances(comparison(num_second, num_first))
    assert chances.p_first + other.p_first == pytest.approx(1, abs=2e-6)


# Draws


def test_other_seeds_repeats_prompts_and_orders_are_drawn_anew() -> None:
    """Two independent fair coins agree half of the time."""
    asked, other = oracle(temperature=1), oracle(temperature=1, seed=1)
    agree = Counter[str]()
    for number in range(1000):
        page = comparison(number, number)  # no difference: a fair coin
        said = reading(asked, page).verdict
        moved = Comparison(Pair(page.pair.prompt, page.pair.first, Completion(" v" * number, (1,), True)), False)
        agree["seed"] += said is reading(other, page).verdict
        agree["repeat"] += said is reading(asked, comparison(number, number, repeat=1)).verdict
        agree["prompt"] += said is reading(asked, comparison(number, number, prompt="Movie")).verdict
        agree["order"] += reading(asked, moved).verdict is reading(asked, moved.swap()).verdict
    assert {name: count / 1000 for name, count in agree.items()} == {
        name: pytest.approx(0.5, abs=0.07) for name in ("seed", "repeat", "prompt", "order")
    }


def test_a_draw_is_the_same_whatever_else_is_asked() -> None:
    asked = oracle(temperature=1, tie_margin=1, position_bias=0.1, invalid_rate=0.1)
    pages = [comparison(first, second) for first in range(6) for second in range(6)]
    assert asked.ask(pages) == [asked.ask([page])[0] for page in pages]
    assert asked.ask(pages[::-1]) == asked.ask(pages)[::-1]


def test_the_draws_of_the_first_release_stand() -> None:
    """If these change, recorded runs replay to other labels."""
    asked = oracle(temperature=1, tie_margin=0.5, position_bias=0.1, invalid_rate=0.1)
    said = "".join(reading(asked, comparison(2, 2, repeat)).verdict.value[0] for repeat in range(24))
    assert said == "fssftfssttsiiffstffsffft"


# Replies


def test_a_reply_is_canonical_json_with_the_ground_truth() -> None:
    reply = oracle(temperature=2).ask([comparison(3, 1)])[0]
    answer = json.loads(reply.raw)
    assert rfc8785.dumps(answer).decode() == reply.raw
    assert (answer["reward_first"], answer["reward_second"]) == (4, 2)  # "Film" is a word as well
    assert answer["p_first"] == pytest.approx(sigmoid(1), abs=1e-6)
    assert reply.model == "simulated-length@1"


def test_the_request_holds_all_that_can_change_the_answer() -> None:
    shown = Comparison(comparison(1, 2).pair, swapped=True, repeat=3)
    request: dict[str, JSON] = {
        "provider": "apl-bench", "model": "simulated-length@1", "temperature": 0.5, "tie_margin": 1.0,
        "position_bias": 0.1, "invalid_rate": 0.2, "seed": 7, "prompt": "Film", "first": " w w", "second": " w",
        "repeat": 3,
    }  # fmt: skip
    asked = oracle(temperature=0.5, tie_margin=1, position_bias=0.1, invalid_rate=0.2, seed=7)
    assert asked.request(shown) == request


@pytest.mark.parametrize(
    "raw",
    ["", "first", "null", "[]", "{}", '{"verdict": "first"}', '{"verdict": "first", "p_first": 2}',
     '{"verdict": "first", "p_first": -0.5}', '{"verdict": "FIRST", "p_first": 1}',
     '{"verdict": ["tie"], "p_first": 1}',
     '{"verdict": "invalid", "p_first": 1}', '{"verdict": "first", "verdict": "second", "p_first": 1}',
     '{"verdict": "first", "p_first": NaN}', '{"verdict": "first", "p_first": true}'],
)  # fmt: skip
def test_what_cannot_be_read_is_invalid(raw: str) -> None:
    assert oracle().read(Reply(raw, "m")) == Reading(INVALID)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("temperature", -1, "a number from 0"), ("tie_margin", math.nan, "a number from 0"),
     ("position_bias", 1.1, "a number from 0 to 1"), ("invalid_rate", True, "a number from 0 to 1"),
     ("seed", -1, "a whole number from 0"), ("seed", 1.5, "a whole number from 0")],
)  # fmt: skip
def test_a_parameter_that_cannot_be_is_named(name: str, value: Any, expected: str) -> None:
    with pytest.raises(SpecError, match=rf"{name} is .*; expected {expected}"):
        oracle(**{name: value})


def test_an_unknown_reward_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"no simulated reward called 'lenght'\. Did you mean 'length'"):
        oracle(reward="lenght")
