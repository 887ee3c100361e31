"""The OpenAI backend: replies, faults, probabilities, and many calls at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apl_bench.failures import CallError, Remedy
from apl_bench.judgments.record import Record
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.types import Reading, Reply, Verdict
from tests.fake_provider import FakeProvider
from tests.oracles.hosted import ask, assert_one_attempt, cancel_once_arrived, comparison, failure, run
from tests.oracles.hosted import openai as oracle

pytestmark = pytest.mark.usefixtures("loopback", "openai_key")


# What comes back

FAULTS: list[tuple[str, Remedy, float | None, str]] = [
    ("rate-limit:7", Remedy.SLOW_DOWN, 7.0, "answered 429: Slow down. It asks for fewer calls"),
    ("rate-limit-ms:250", Remedy.SLOW_DOWN, 0.25, "429"),
    ("rate-limit-bare", Remedy.SLOW_DOWN, None, "429"),
    ("rate-limit:soon", Remedy.SLOW_DOWN, None, "429"),
    ("rate-limit:nan", Remedy.SLOW_DOWN, None, "429"),
    ("rate-limit:-5", Remedy.SLOW_DOWN, 0.0, "429"),
    ("quota", Remedy.STOP, None, "You exceeded your current quota. Add credit"),
    ("408", Remedy.RETRY, None, "answered 408"),
    ("409", Remedy.RETRY, None, "answered 409"),
    ("500", Remedy.RETRY, None, "answered 500: The server had an error"),
    ("503", Remedy.RETRY, None, "answered 503"),
    ("529", Remedy.SLOW_DOWN, None, "answered 529"),
    ("401", Remedy.STOP, None, "environment variable OPENAI_API_KEY holds a valid key"),
    ("403", Remedy.STOP, None, "use another key or model"),
    ("404", Remedy.STOP, None, "(m-1) answered 404: The model does not exist"),
    ("unsupported", Remedy.STOP, None, "refuses the parameter 'temperature': leave it out of the oracle's parameters"),
    ("unsupported:max_tokens", Remedy.STOP, None, "change token_parameter or max_output_tokens"),
    ("unsupported:response_format", Remedy.STOP, None, "set reply to 'text'"),
    ("too-long", Remedy.STOP, None, "The texts are too long"),
    ("detail", Remedy.STOP, None, "(m-1) answered 400: Server is pinned to 'm'; requested 'n'. The request itself"),
    ("malformed", Remedy.RETRY, None, "no JSON object"),
    ("wrong-type", Remedy.RETRY, None, "no JSON object: '<html>gateway</html>'"),
    ("not-a-table", Remedy.RETRY, None, "no JSON object"),
    ("empty-choices", Remedy.RETRY, None, "without a reply"),
    ("hang-up", Remedy.RETRY, None, "gave no answer: Connection error"),
    ("hang-up-after-head", Remedy.RETRY, None, "gave no answer"),
    ("half-body", Remedy.RETRY, None, "gave no answer"),
]


@pytest.mark.parametrize(("fault", "remedy", "after_s", "text"), FAULTS)
def test_a_fault_is_one_sentence_and_one_attempt(fault: str, remedy: Remedy, after_s: float | None, text: str) -> None:
    with FakeProvider(faults=[fault]) as server:
        assert_one_attempt(server, oracle(server), remedy, after_s, text)


def test_a_date_says_when_to_come_back() -> None:
    with FakeProvider(faults=["rate-limit-date:3000"]) as server:
        after_s = failure(oracle(server)).retry_after_s
    assert after_s is not None
    assert 2000 < after_s <= 3000


def test_a_server_that_is_not_there() -> None:
    with FakeProvider() as server:
        gone = oracle(server)
    error = failure(gone)
    assert error.remedy is Remedy.RETRY
    assert "gave no answer" in str(error)


@pytest.mark.parametrize(("fault", "outcome", "reason", "raw"), [
    ("truncated", "truncated", "length", "Comparison: One of the two"),
    ("refusal", "refused", "stop", "I can't help with that."),
    ("filter", "filtered", "content_filter", "Comparison:"),
    ("policy", "filtered", "content_filter", "Output blocked"),
    ("gibberish", "ok", "stop", "I would rather not say."),
])  # fmt: skip
def test_what_is_an_answer_but_no_verdict_is_kept_and_invalid(fault: str, outcome: str, reason: str, raw: str) -> None:
    with FakeProvider(faults=[fault]) as server:
        asked = oracle(server)
        (reply,) = ask(asked)
    assert (reply.outcome, reply.finish_reason) == (outcome, reason)
    assert reply.raw.startswith(raw)
    assert asked.read(reply) == Reading(Verdict.INVALID)
    assert Record.from_line(Record.of(asked.request(comparison()), reply).to_line()).reply.raw == reply.raw


def test_a_verdict_that_was_cut_off_or_filtered_is_not_read() -> None:
    """The text would do, the outcome does not."""
    asked = OpenAIChat("m", "paper-sentiment-v1", "text")
    for reason, verdict in (("stop", Verdict.FIRST), ("length", Verdict.INVALID), ("content_filter", Verdict.INVALID)):
        choice = {"message": {"content": "Preferred: A"}, "finish_reason": reason}
        assert asked.read(asked._wire.reply_of({"choices": [choice]}, False)).verdict is verdict


def test_half_a_surrogate_pair_can_be_recorded() -> None:
    with FakeProvider(faults=["says:\ud83d!\nPreferred: A"]) as server:
        asked = oracle(server)
        (reply,) = ask(asked)
    assert reply.raw == "\ufffd!\nPreferred: A"
    assert asked.read(reply).verdict is Verdict.FIRST
    Record.of(asked.request(comparison()), reply).to_line()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["choices", "message", "content", "usage", "logprobs", "finish_reason", "refusal", "token", "id"]
    ), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


tokens = st.lists(st.fixed_dictionaries({"token": json_values, "logprob": json_values, "top_logprobs": json_values}))


@given(json_values, json_values, json_values | st.fixed_dictionaries({"content": tokens}), json_values)
@example({}, {"content": "x"}, {"content": [{"token": "A", "logprob": float("-inf"), "top_logprobs": []}]}, "stop")
@example({"\ud800": 1, "a": {"b": {"c": 1}, "\u00e9": 2}}, {"content": "x"}, None, ["stop"])
def test_any_json_is_a_reply_or_a_call_error(body: Any, message: Any, logprobs: Any, reason: Any) -> None:
    asked = OpenAIChat("m", "paper-sentiment-v1")
    choice = {"message": message, "logprobs": logprobs, "finish_reason": reason}
    for table in (body if isinstance(body, dict) else {}, {"choices": [choice], "usage": body}):
        try:
            reply = asked._wire.reply_of(table, False)
        except CallError:
            continue
        assert asked.read(reply).verdict is Verdict.INVALID
        Record.of(asked.request(comparison()), reply).to_line()


def test_probabilities_come_from_the_verdicts_token() -> None:
    with FakeProvider() as server:
        for form in ("json", "text"):
            asked = oracle(server, reply=form, top_logprobs=5)
            there, back = ask(asked, comparison(), comparison().swap())
            assert asked.read(there) == Reading(Verdict.FIRST, 0.888889)  # 0.8 / (0.8 + 0.1)
            assert asked.read(back) == Reading(Verdict.SECOND, 0.111111)


def test_alternatives_are_kept_where_a_label_can_stand_so_that_a_long_reply_fits_the_ledger() -> None:
    asked = OpenAIChat("m", "paper-sentiment-v1", "text", top_logprobs=20)
    top = [{"token": f"word{number:04d}", "logprob": -9.75} for number in range(20)]
    words = [{"token": "x", "logprob": -0.1, "top_logprobs": top}] * 8000
    letter = {"token": " A", "logprob": -0.5, "top_logprobs": [{"token": " B", "logprob": -1.0}]}
    body = {"content": "x" * 8000 + "\nPreferred: A"}
    tail = [{"token": text, "logprob": 0.0, "top_logprobs": top} for text in ("\n", "Preferred", ":")]
    choice = {"message": body, "finish_reason": "stop", "logprobs": {"content": [*words, *tail, letter]}}
    reply = asked._wire.reply_of({"choices": [choice]}, True)
    Record.of(asked.request(comparison()), reply).to_line()
    assert asked.read(reply) == Reading(Verdict.FIRST, 0.622459)  # 1 / (1 + exp(-0.5))


def test_a_server_that_keeps_its_probabilities_to_itself_stops_the_run() -> None:
    with FakeProvider(faults=["no-logprobs", "truncated"]) as server:
        asked = oracle(server, top_logprobs=5)
        error = failure(asked)
        (cut,) = ask(asked)
    assert error.remedy is Remedy.STOP
    assert "did not return the log-probabilities that top_logprobs asks for" in str(error)
    assert error.usage["completion_tokens"] == 20  # paid for all the same
    assert cut.outcome == "truncated"


def test_a_call_can_be_cancelled_and_the_next_one_works() -> None:
    async def work(asked: OpenAIChat) -> Reply:
        await cancel_once_arrived(asked, server)
        return await asked.call(comparison())

    with FakeProvider(faults=["stall"]) as server:
        asked = oracle(server)
        assert asked.read(run(asked, work)).verdict is Verdict.FIRST


def test_many_calls_run_at_once_and_in_one_loop_after_another() -> None:
    async def work(asked: OpenAIChat) -> list[Reply]:
        return await asyncio.gather(*(asked.call(comparison(f" was good {i}")) for i in range(20)))

    with FakeProvider(latency_s=1.0) as server:
        asked = oracle(server)
        for _ in range(2):
            assert len(run(asked, work)) == 20
        assert server.peak > 5
        assert set(server.answered().values()) == {2}


def test_a_loop_that_ended_without_a_word_leaves_nothing_behind() -> None:
    with FakeProvider() as server:
        asked = oracle(server)
        for _ in range(3):
            assert asked.read(asyncio.run(asked.call(comparison()))).verdict is Verdict.FIRST


@given(st.text(), st.text())
def test_the_allowance_is_no_less_than_the_bytes_that_are_sent(first: str, second: str) -> None:
    asked = OpenAIChat("m", "paper-sentiment-v1", "json")
    allowance = asked.allowance(comparison(first, second))
    words = asked._words.render(comparison(first, second))
    assert allowance.input_tokens >= len((words.system + words.user).encode())
    assert allowance.output_tokens == 2048
