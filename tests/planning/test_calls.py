"""What a call takes: answers behind a verdict, tokens, dollars, rounds, people, and texts before there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.asking.prices import Price
from apl_bench.experiment import Materials
from apl_bench.judgments.record import Record
from apl_bench.planning import texts
from apl_bench.planning.calls import (
    CallTokens,
    Identity,
    Recorded,
    bill,
    call_tokens,
    num_batches,
    recorded_calls,
    requests,
    seconds_for,
)
from apl_bench.planning.counting import EXAMPLES, Source
from apl_bench.planning.plan import Wish, _within, plan, price_for
from apl_bench.spec import PluginSpec
from apl_bench.types import JSON, LengthBounds, Pair, Reply, SpecError
from apl_bench.wrapping import Wrapped
from tests.asking.provider import Scripted
from tests.fakes import prompts
from tests.planning.planned import GPT, tiny

BOUNDS = LengthBounds(8, 12)


def test_answers_behind_one_verdict() -> None:
    def answers(order: str, *wrappers: PluginSpec) -> int:
        return Source.of(PluginSpec("classifier", {"model": "judge"}, wrappers), order).answers_per_verdict

    both = PluginSpec("both_orders")
    assert [answers("random"), answers("both"), answers("random", PluginSpec("flip", {"rate": 0.1}))] == [1, 2, 1]
    assert answers("both", both) == 2  # the same two pages twice


def test_repeats_are_answers_of_their_own_where_the_request_has_the_repeat() -> None:
    plugin = replace(GPT, wrappers=(PluginSpec("repeat", {"num": 3}), PluginSpec("both_orders")))
    assert Source.of(plugin, "random").answers_per_verdict == 6


def remote(num_records: int) -> tuple[Source, Recorded]:
    source = Source(Wrapped(Scripted()), "random")
    recorded = Recorded()
    for _ in range(num_records):
        usage = {"prompt_tokens": 320, "completion_tokens": 60}
        recorded.add(Record.of({"model": "m"}, Reply("A", "m", usage=usage, latency_s=1.5)))
    return source, recorded


def test_tokens_by_characters_or_by_recorded_usage() -> None:
    """Each of the two texts has 36 characters, its neighbours 24 = 96 in all, over 4, and 10 for the request."""
    pairs = [texts.filled(prompt, BOUNDS, 3.0) for prompt in prompts(5)]
    for pair in pairs:
        assert len(pair.first.text) == 36
    source, few = remote(19)
    call = call_tokens(source, texts.Texts(pairs, pairs, "five films"), few)
    others = len("scripted") + len("longer") + len("Film 0 was")
    assert call.expected_input == (72 + others) / 4 + 10
    assert (call.most_input, call.most_output) == (100, 50)
    assert "five films" in call.basis
    call = call_tokens(source, texts.Texts(pairs, pairs, "five films"), remote(20)[1])
    assert (call.expected_input, call.expected_output) == (320, 60)
    assert call.basis == "the usage of 20 recorded calls of this model with these parameters"
    assert remote(20)[1].latency_s == 1.5
    assert remote(19)[1].latency_s is None


def test_only_calls_of_the_same_model_and_parameters_count() -> None:
    sources = [Source.of(replace(GPT, params={**GPT.params, **other}), "random")
               for other in ({}, {"temperature": 0.5}, {"model": "gpt-4.1"}, {"seed": 5})]  # fmt: skip
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    records = [Record.of(request, Reply("", "m", usage=usage)) for request in requests_of(sources[0], EXAMPLES)]
    wanted = {str(place): Identity.of(source) for place, source in enumerate(sources)}
    assert [found.num for found in recorded_calls(records, wanted).values()] == [2, 0, 0, 2]  # a seed costs nothing


def requests_of(source: Source, pairs: Sequence[Pair]) -> list[dict[str, JSON]]:
    return [dict(request) for request in requests(source, pairs)]


def test_a_bill_by_hand() -> None:
    """1000 calls of 300 + 50 tokens at $2 and $10 a million: $.60 + $.50; at most 1200 of 1000 + 100: $2.40 + $1.20."""
    call = CallTokens(300.0, 50.0, 1000, 100, "")
    charged = bill(call, 1000, 1200, Price(2.0, 10.0, 0.5, "here"))
    assert (charged.tokens_expected, charged.tokens_at_most) == (350_000, 1_320_000)
    assert (charged.usd_expected, charged.usd_at_most) == pytest.approx((1.1, 3.6))
    assert bill(call, 1000, 1200, None).usd_expected is None


def test_rounds_do_not_overlap() -> None:
    """100 calls are 2 rounds of 64 at once, 64 are 1, 65 are 2: 5 latencies; as batches of 70: 2 + 1 + 1."""
    assert seconds_for([100, 64, 65], 64, 2.0) == 10.0
    assert num_batches([100, 64, 65], 70) == 4


def test_an_unknown_price_stays_unknown() -> None:
    source = Source.of(replace(GPT, params={**GPT.params, "model": "gpt-99"}), "random")
    price, said = price_for(Identity.of(source), None)
    assert price is None
    assert "has no 'gpt-99'" in said
    assert "2026-" in said  # the date of the table
    assert price_for(Identity.of(source), Price(1, 2, 1, "--price"))[1] == "--price"
    price, said = price_for(Identity({"provider": "elsewhere", "model": "m"}), None)
    assert "no price table of 'elsewhere'" in said


def test_caps() -> None:
    assert [_within(10, *pair) for pair in ((5, 9), (5, 11), (11, 20), (None, 3))] == [
        "always", "expected", "no", "unknown",
    ]  # fmt: skip


def test_a_judge_over_a_network_is_priced_on_the_tasks_prompts(tmp_path: Path) -> None:
    spec = replace(tiny("random"), judge=GPT)
    judge = plan([spec], tmp_path, None, Wish(latency_s=2.0)).parts[1].remote
    assert judge is not None
    words = len("Which of the following movie reviews is better?")
    assert words < judge.call.expected_input < judge.call.most_input
    assert judge.bill.usd_expected == pytest.approx(
        36 * (judge.call.expected_input * 0.4 + judge.call.expected_output * 1.6) / 1e6, rel=1e-3
    )
    assert judge.seconds == 6.0  # three waypoints, each of 12 calls at once
    batched = plan([spec], tmp_path, None, Wish(batch=frozenset({"judge"}))).parts[1].remote
    assert batched is not None
    assert batched.num_batches == 3
    assert batched.bill.usd_expected == pytest.approx((judge.bill.usd_expected or 0) / 2)


def test_what_a_run_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="has no batch API"):
        plan([tiny("random")], tmp_path, None, Wish(batch=frozenset({"judge"})))
    with pytest.raises(SpecError, match="at most the 2469 held-out prompts"):
        plan([replace(tiny("random", "evaluation.num_prompts=9999"), judge=GPT)], tmp_path, None, Wish())
    with pytest.raises(SpecError, match="parameter of the strategy"):
        plan([tiny("random", "strategy.width=3")], tmp_path, None, Wish())


def test_people_answer_with_their_votes_and_checks(tmp_path: Path) -> None:
    people = PluginSpec("human", {"queue": "q", "template": "people-sentiment-v1", "votes": 3, "repeats": 0.25,
                                  "swaps": 0.0})  # fmt: skip
    planned = plan([replace(tiny("random"), oracle=people)], tmp_path, None, Wish())
    assert (planned.parts[0].kind, planned.parts[0].people) == ("people", 26)  # 8 x 3.25


def test_the_shipped_tokenizer_is_the_policys(materials: Materials) -> None:
    path = texts.tokenizer_file(tiny("random").policy)
    assert path is not None
    mine, theirs = texts.FileTokenizer(path), materials.engine.reference().tokenizer
    for prompt in [*materials.test[:50], *materials.train[:50]]:
        ids = theirs.encode(prompt.text)
        assert mine.encode(prompt.text) == ids
        assert mine.decode(ids) == theirs.decode(ids)


@given(st.text())
def test_pieces_are_put_together_again(text: str) -> None:
    tokenizer = texts.PieceTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text.rstrip()


def test_a_policy_that_is_not_here_is_stood_in_for(tmp_path: Path) -> None:
    spec = replace(tiny("random", f"policy.model={tmp_path}/none"), judge=GPT)
    judge = plan([spec], tmp_path, None, Wish()).parts[1].remote
    assert judge is not None
    assert "is not on this machine" in judge.call.basis
