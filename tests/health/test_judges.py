"""Judges whose truth is known, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from apl_bench.asking.prices import _table, parse_price, price_of
from apl_bench.expressions import parse
from apl_bench.health.measures import Found, health
from apl_bench.health.opinions import Splitter, Subject, asked, cost
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.oracles.simulated import Chances, Simulated
from apl_bench.spec import PluginSpec
from apl_bench.types import Comparison, Pair, Reply
from apl_bench.wrapping import create_oracle
from tests.health.opinions import of, pair


def films(num: int) -> list[Pair]:
    """Pairs of texts with up to four words of praise each, on prompts of their own."""
    return [pair(f" {'great ' * (i % 5)}one", f" {'great ' * (i // 5 % 5)}other", f"Film {i} was") for i in range(num)]


def judged(expression: str, pairs: Sequence[Pair], ledger: Ledger, repeats: int, order: str) -> Subject:
    plugin = parse(expression)
    again = PluginSpec("repeat", {"num": repeats})
    whole = PluginSpec(plugin.name, plugin.params, (*plugin.wrappers, again))
    return asked(Judging(create_oracle(whole), ledger, Manner(Mode.RECORD, order)), plugin, pairs, order)


SIMULATED = ("simulated(reward=positive-words, temperature={0}, tie_margin=0.2, position_bias={1}, invalid_rate={2}, "
             "seed=1)")  # fmt: skip


def test_a_noisy_judge_is_measured_as_it_is(ledger: Ledger) -> None:
    pairs = films(250)
    subject = judged(SIMULATED.format(2.0, 0.25, 0.04), pairs, ledger, repeats=2, order="both")
    found = health(subject.opinions, is_random=True)
    oracle = create_oracle(parse(SIMULATED.format(2.0, 0.25, 0.04))).oracle
    assert isinstance(oracle, Simulated)
    chances = [oracle.chances(Comparison(item, swapped)) for item in pairs for swapped in (False, True)]

    def mean(values: Sequence[float], weights: Sequence[float]) -> float:
        return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)

    def holds(measure: Found, truth: float) -> bool:
        return of(measure).low <= truth <= of(measure).high

    read = [(1 - each.invalid) ** 2 for each in chances]
    same = [(each.first**2 + each.second**2 + each.tie**2) / weight for each, weight in zip(chances, read, strict=True)]
    assert holds(found.repeats, mean(same, read))
    decided = [each.first + each.second for each in chances]
    assert holds(
        found.position.first, mean([each.first for each in chances], [1] * len(chances)) * len(chances) / sum(decided)
    )
    assert holds(found.position.same, float(np.mean([_same(*chances[i : i + 2]) for i in range(0, len(chances), 2)])))
    assert holds(found.invalid, 0.04)
    assert holds(found.ties, float(np.mean([each.tie for each in chances])))
    assert found.position.first_p is not None
    assert found.position.first_p < 0.01  # a bias of a quarter is seen
    assert found.position.num_firsts > 2 * found.position.num_seconds
    assert not subject.sound


def _same(straight: Chances, swapped: Chances) -> float:
    """How likely two answers that can be read mean the same, shown in both orders."""
    read = (1 - straight.invalid) * (1 - swapped.invalid)
    return (straight.first * swapped.second + straight.second * swapped.first + straight.tie * swapped.tie) / read


def test_a_judge_without_noise_is_consistent(ledger: Ledger) -> None:
    found = health(judged(SIMULATED.format(0, 0, 0), films(75), ledger, 2, "both").opinions, is_random=True)
    assert of(found.repeats).value == of(found.position.same).value == 1.0
    assert found.position.flips_p is None
    assert of(found.ties).value == 0.2  # as many words of praise in a fifth of the pairs
    assert of(found.position.first).low < 0.5 < of(found.position.first).high


def test_flips_halve_what_repeats_agree_on(ledger: Ledger) -> None:
    """flip(0.2) of a judge without noise: two askings agree with probability .8^2 + .2^2 = .68, ties aside."""
    plain = SIMULATED.format(0, 0, 0).replace("tie_margin=0.2", "tie_margin=0").replace("positive-words", "length")
    items = [pair(f" {'so ' * (i % 7)}good", f" {'so ' * (i % 5 + 8)}good", f"Film {i} was") for i in range(300)]
    found = of(health(judged(f"flip(0.2, {plain})", items, ledger, 3, "random").opinions, is_random=True).repeats)
    assert found.low < 0.68 < found.high
    assert found.num_items == 900
    assert found.high - found.low < 0.12


def test_position_bias_is_found_and_not_taken_for_length(ledger: Ledger) -> None:
    plain = SIMULATED.format(0, 0, 0)
    found = health(judged(f"position_bias(0.5, {plain})", films(200), ledger, 1, "both").opinions, is_random=True)
    assert of(found.position.first).low > 0.5
    assert found.position.num_seconds == 0
    assert found.position.flips_p is not None
    assert found.position.flips_p < 1e-6


def test_wrappers_of_the_judge_itself_stay_within_one_answer(ledger: Ledger) -> None:
    """repeat(3, ...) asked twice: six replies behind a verdict, and two answers."""
    subject = judged(f"repeat(3, {SIMULATED.format(2.0, 0, 0)})", films(20), ledger, repeats=2, order="random")
    assert [len(item.answers) for item in subject.opinions] == [2] * 20
    assert len(subject.records) == 120
    of(health(subject.opinions, is_random=True).repeats)


def test_answers_stand_in_the_order_in_which_they_were_asked(ledger: Ledger) -> None:
    subject = judged(SIMULATED.format(2.0, 0, 0), films(3), ledger, repeats=2, order="both")
    for item in subject.opinions:
        assert [(one.swapped != item.swapped, one.repeat) for one in item.answers] == [
            (False, 0), (False, 1), (True, 0), (True, 1)]  # fmt: skip
        assert item.verdict is item.answers[0].meant


def test_replies_that_no_wrapper_asked_for_are_refused(ledger: Ledger) -> None:
    subject = judged(SIMULATED.format(2.0, 0, 0), films(1), ledger, repeats=1, order="random")
    (record,) = subject.records.values()
    splitter = Splitter(create_oracle(parse(SIMULATED.format(2.0, 0, 0))), 0)
    with pytest.raises(ValueError, match="1 more judgments"):
        list(splitter.answers(Comparison(films(1)[0], swapped=False), [record.reply] * 2))


# What it cost


def bought(model: str, provider: str, usage: dict[str, int]) -> Subject:
    record = Record.of(
        {"provider": provider, "model": model, "endpoint": f"api.{provider}.com"},
        Reply("Preferred: A", model, usage=usage),
    )
    return Subject("judge", model, "random", (), {record.key: record}, sound=True)


def test_cost_is_by_list_price_and_unknown_stays_unknown() -> None:
    usage = {"input_tokens": 1_000_000, "output_tokens": 100_000}
    model = next(name for provider, name in _table() if provider == "anthropic")
    price = price_of({"provider": "anthropic", "model": model, "endpoint": "api.anthropic.com"})
    assert price_of({"provider": "anthropic", "model": model, "endpoint": "127.0.0.1:8000"}) is None, "who knows"
    assert price is not None
    known = cost(bought(model, "anthropic", usage))
    assert (known.calls, known.tokens) == (1, 1_100_000)
    assert known.cost_usd == pytest.approx(price.input_usd + price.output_usd / 10)
    assert cost(bought("nobody", "anthropic", usage)).cost_usd is None
    assert cost(bought("nobody", "anthropic", usage), parse_price("2:10")).cost_usd == pytest.approx(3.0)
    mixed = bought(model, "anthropic", usage).joined(bought("nobody", "anthropic", usage))
    assert (cost(mixed).tokens, cost(mixed).cost_usd) == (2_200_000, None)
    free = cost(bought("classifier", "apl-bench", {}))
    assert (free.tokens, free.cost_usd) == (None, None)
