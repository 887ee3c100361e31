"""The OpenAI backend: the real SDK against a server on loopback that does whatever servers do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apl_bench.checks.oracles import check_oracle
from apl_bench.failures import CallError, Remedy
from apl_bench.judgments.keys import request_key
from apl_bench.judgments.record import Record
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.registry import ORACLES
from apl_bench.types import Comparison, Completion, Pair, Prompt, Reading, Reply, SpecError, Verdict
from tests.fake_batches import BatchPlan
from tests.fake_provider import FakeProvider

KEY = "sk-proj-0123456789abcdefghij"
T = TypeVar("T")

pytestmark = pytest.mark.usefixtures("loopback")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def comparison(first: str = " was good", second: str = " was bad", repeat: int = 0) -> Comparison:
    pair = Pair(Prompt("p", "The film"), *(Completion(text, (), True) for text in (first, second)))
    return Comparison(pair, swapped=False, repeat=repeat)


def oracle(server: FakeProvider, **parameters: Any) -> OpenAIChat:
    return OpenAIChat(**{"model": "m-1", "template": "paper-sentiment-v1", "base_url": server.base_url, **parameters})


def run(asked: OpenAIChat, work: Callable[[OpenAIChat], Coroutine[Any, Any, T]]) -> T:
    """The work in a loop of its own, with the connections closed after it."""

    async def whole() -> T:
        try:
            return await work(asked)
        finally:
            await asked.close()

    return asyncio.run(whole())


def ask(asked: OpenAIChat, *comparisons: Comparison) -> list[Reply]:
    async def each(backend: OpenAIChat) -> list[Reply]:
        return [await backend.call(one) for one in comparisons or (comparison(),)]

    return run(asked, each)


def failure(asked: OpenAIChat) -> CallError:
    with pytest.raises(CallError) as caught:
        ask(asked)
    return caught.value


# What is sent


def test_what_is_not_set_is_not_sent() -> None:
    with FakeProvider() as server:
        asked = oracle(server)
        (reply,) = ask(asked)
        words = asked.request(comparison())["messages"]
        assert server.calls[0].body == {"model": "m-1", "messages": words, "max_completion_tokens": 2048}
    assert asked.read(reply) == Reading(Verdict.FIRST)
    assert reply.outcome == "ok"
    assert reply.finish_reason == "stop"
    assert reply.response_id == "chatcmpl-1"
    assert reply.usage["prompt_tokens"] == 200
    assert reply.usage["prompt_tokens_details.cached_tokens"] == 128
    assert reply.latency_s is not None


def test_what_is_set_is_sent_and_recorded() -> None:
    settings: dict[str, Any] = {"temperature": 0.05, "top_p": 1, "seed": 7, "frequency_penalty": 0.0,
                                "presence_penalty": 0.5, "reasoning_effort": "none", "verbosity": "low"}  # fmt: skip
    with FakeProvider() as server:
        asked = oracle(server, reply="json", token_parameter="max_tokens", max_output_tokens=99, top_logprobs=5,
                       extra_body={"chat_template_kwargs": {"enable_thinking": False}}, **settings)  # fmt: skip
        ask(asked, comparison(repeat=2))
        sent = server.calls[0].body
    request = asked.request(comparison(repeat=2))
    assert sent == {
        "model": "m-1",
        "messages": request["messages"],
        **settings,
        "seed": 9,  # of repeat 2: the same seed would only give the same answer
        "max_tokens": 99,
        "logprobs": True,
        "top_logprobs": 5,
        "response_format": request["response_format"],
        "chat_template_kwargs": {"enable_thinking": False},
    }
    schema = {
        "type": "object",
        "properties": {"comparison": {"type": "string"}, "preferred": {"type": "string", "enum": ["A", "B"]}},
        "required": ["comparison", "preferred"],
        "additionalProperties": False,
    }
    assert sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": schema},
    }
    assert request["parameters"] == {
        **settings, "seed": 9, "max_output_tokens": 99, "token_parameter": "max_tokens", "top_logprobs": 5,
        "extra_body": {"chat_template_kwargs": {"enable_thinking": False}},
    }  # fmt: skip


def test_every_parameter_changes_the_key() -> None:
    base: dict[str, Any] = {"model": "m-1", "template": "paper-sentiment-v1"}
    changes: list[dict[str, Any]] = [
        {}, {"model": "m-2"}, {"template": "sentiment-v2"}, {"reply": "text"}, {"base_url": "http://127.0.0.1:1/v1"},
        {"base_url": "http://127.0.0.1:2/v1"}, {"max_output_tokens": 99}, {"token_parameter": "max_tokens"},
        {"temperature": 0.0}, {"top_p": 1.0}, {"seed": 0}, {"frequency_penalty": 0.0}, {"presence_penalty": 0.0},
        {"reasoning_effort": "none"}, {"verbosity": "low"}, {"top_logprobs": 5}, {"extra_body": {"top_k": 1}},
    ]  # fmt: skip
    keys = {request_key(OpenAIChat(**{**base, **change}).request(comparison())) for change in changes}
    assert len(keys) == len(changes)
    plain = OpenAIChat(**base)
    others = [comparison().swap(), comparison(repeat=1), comparison(second=" was so-so")]
    assert len(keys | {request_key(plain.request(other)) for other in others}) == len(changes) + 3


def test_the_key_is_golden() -> None:
    """A change here makes every recorded judgment of this backend unreachable."""
    asked = OpenAIChat(model="gpt-x", template="paper-sentiment-v1", temperature=0.05)
    key = request_key(asked.request(comparison()))
    assert key == "b3e9ebdba9800a682d717efc30e417fe1fbbb504c460d1faf0763e6d2fb9eda1"


def test_the_form_of_reply_is_settled_by_the_address_unless_it_is_set() -> None:
    forms = {(url, reply): OpenAIChat("m", "sentiment-v2", reply, url).request(comparison())["reply"]
             for url in (None, "http://127.0.0.1:1/v1") for reply in (None, "json", "text")}  # fmt: skip
    assert list(forms.values()) == ["json", "json", "text", "text", "json", "text"]


@pytest.mark.parametrize(("parameters", "message"), [
    ({"model": ""}, "model is ''"),
    ({"template": "paper-sentiment"}, "no template called 'paper-sentiment'"),
    ({"reply": "jsn"}, "Did you mean 'json'"),
    ({"token_parameter": "max_token"}, "Did you mean 'max_tokens'"),
    ({"max_output_tokens": 0}, "max_output_tokens is 0; expected a whole number from 1"),
    ({"max_output_tokens": True}, "max_output_tokens is True"),
    ({"temperature": "hot"}, "temperature is 'hot'; expected a number"),
    ({"temperature": float("nan")}, "temperature is nan"),
    ({"top_logprobs": 1}, "top_logprobs is 1; expected a whole number from 2 to 20"),
    ({"seed": 1.5}, "seed is 1.5"),
    ({"reasoning_effort": 3}, "reasoning_effort is 3"),
    ({"base_url": "localhost:8000"}, "base_url is .*expected one such as"),
    ({"base_url": "http://u:hunter2hunter2@host:x/v1"}, "base_url is no address"),
    ({"base_url": "http://h/v1?key=1"}, r"without \? and #"),
    ({"extra_body": {"temperature": 1, "top_k": 4}}, r"extra_body is \['temperature'\]"),
])  # fmt: skip
def test_parameters_that_cannot_be_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        OpenAIChat(**{"model": "m", "template": "paper-sentiment-v1", **parameters})
    assert "hunter2" not in str(caught.value)


def test_the_registry_makes_it_from_parameters() -> None:
    made = ORACLES.create("openai", {"model": "m", "template": "sentiment-v2", "temperature": 0})
    assert isinstance(made, OpenAIChat)
    with pytest.raises(SpecError, match="no parameter of the oracle 'openai' called 'temprature'"):
        ORACLES.create("openai", {"model": "m", "template": "sentiment-v2", "temprature": 0})
    assert check_oracle(made) == []
    assert check_oracle(OpenAIChat("m", "summary-v2", "text")) == []


# Where it is sent, and the key


def test_the_environment_does_not_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeProvider() as server, FakeProvider() as elsewhere:
        monkeypatch.setenv("OPENAI_BASE_URL", elsewhere.base_url)
        asked = oracle(server)
        ask(asked)
        assert (len(server.calls), len(elsewhere.calls)) == (1, 0)
        assert asked.identity() == {"base_url": server.base_url.removeprefix("http://")}
    paid = OpenAIChat("m", "paper-sentiment-v1")
    assert paid.identity() == {"base_url": "api.openai.com/v1"}
    assert str(paid._wire._connect().base_url) == "https://api.openai.com/v1/"


def test_a_redirect_is_not_followed() -> None:
    with FakeProvider() as elsewhere, FakeProvider(faults=[f"redirect:{elsewhere.root_url}/v1/messages"]) as server:
        error = failure(oracle(server))
        assert (len(server.calls), len(elsewhere.calls)) == (1, 0)
    assert error.remedy is Remedy.STOP
    assert "answered 307: Moved. It sends requests on to another address" in str(error)


def test_without_a_key_nothing_is_sent_and_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    error = failure(OpenAIChat("m", "paper-sentiment-v1"))
    assert error.remedy is Remedy.STOP
    assert "api.openai.com/v1 (m) needs a key, and the environment has no OPENAI_API_KEY" in str(error)


def test_a_server_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with FakeProvider() as server:
        ask(oracle(server))
        assert server.calls[0].headers["authorization"] == "Bearer no-key"


def test_requests_are_made_and_replies_read_without_a_key_and_without_the_sdk() -> None:
    code = """
import os, sys
os.environ.pop("OPENAI_API_KEY", None)
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.types import *
asked = OpenAIChat("m", "sentiment-v2")
shown = Comparison(Pair(Prompt("p", "x"), Completion("a", (), True), Completion("b", (), True)), False)
asked.request(shown); asked.allowance(shown); asked.identity(); repr(asked)
assert asked.read(Reply('{"reason": "", "preferred": "B"}', "m")).verdict is Verdict.SECOND
assert not {"openai", "httpx2", "anthropic"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_key_comes_back_in_nothing() -> None:
    user = "http://alice:hunter2hunter2@"
    with FakeProvider(faults=["401", "wrong-type", f"says:{KEY} hunter2hunter2\nPreferred: A", "404"]) as server:
        asked = oracle(server, base_url=server.base_url.replace("http://", user))
        errors = [failure(asked), failure(asked)]
        (reply,) = ask(asked)
        errors.append(failure(asked))
    assert asked.read(reply).verdict is Verdict.FIRST
    for error in errors:
        assert error.__context__ is None
        assert error.__cause__ is None
    shown = [*map(repr, errors), *map(str, errors), repr(asked), reply.raw, json.dumps(asked.request(comparison())),
             json.dumps(asked.identity())]  # fmt: skip
    shown += ["".join(traceback.format_exception(error)) for error in errors]
    for text in shown:
        assert KEY not in text
        assert "hunter2" not in text
    assert "[key]" in str(errors[0])


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
        asked = oracle(server)
        error = failure(asked)
        assert (error.remedy, error.retry_after_s) == (remedy, after_s)
        assert text in str(error)
        assert "\n" not in str(error)
        assert len(server.calls) == 1
        (reply,) = ask(asked)  # and the next call finds nothing broken
        assert asked.read(reply).verdict is Verdict.FIRST


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
        stalled = asyncio.ensure_future(asked.call(comparison()))
        while not server.calls:  # a call that has not arrived would leave the stall to the next one
            await asyncio.sleep(0.01)
        stalled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stalled
        return await asked.call(comparison())

    with FakeProvider(faults=["stall"]) as server:
        asked = oracle(server)
        assert asked.read(run(asked, work)).verdict is Verdict.FIRST


def test_many_calls_run_at_once_and_in_one_loop_after_another() -> None:
    async def work(asked: OpenAIChat) -> list[Reply]:
        return await asyncio.gather(*(asked.call(comparison(f" was good {i}")) for i in range(20)))

    with FakeProvider(latency_s=0.2) as server:
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


# Batches


def comparisons(num: int) -> list[Comparison]:
    return [comparison(" was good", " was bad" if i % 2 else " was good and good", repeat=i) for i in range(num)]


def test_a_batch_goes_up_is_found_again_and_comes_back_in_order() -> None:
    async def work(asked: OpenAIChat) -> str:
        batch = await asked.submit(comparisons(5), "run-1")
        for other in range(4):
            await asked.submit(comparisons(1), f"other-{other}")
        assert await asked.find("run-1") == batch
        assert await asked.find("run-2") is None
        waiting = await asked.collect(batch)
        assert (waiting.ended, dict(waiting.replies)) == (False, {})
        ended = await asked.collect(batch)
        assert (ended.ended, ended.num_done, dict(ended.failures)) == (True, 5, {})
        verdicts = [asked.read(ended.replies[place]).verdict for place in range(5)]
        singly = [asked.read(await asked.call(each)).verdict for each in comparisons(5)]
        assert verdicts == singly
        assert set(verdicts) == {Verdict.FIRST, Verdict.SECOND}
        return batch

    with FakeProvider(batch_plan=BatchPlan(num_polls=2)) as server:
        run(oracle(server), work)
        assert server.batches.num_batches == 5


def test_a_batch_and_a_call_send_the_same_body() -> None:
    asked = OpenAIChat("m", "sentiment-v2", base_url="http://127.0.0.1:1/v1", temperature=0.5, extra_body={"top_k": 1})
    with FakeProvider() as server:
        real = oracle(server, template="sentiment-v2", model="m", temperature=0.5, extra_body={"top_k": 1})
        ask(real)
        assert server.calls[0].body == asked.body(comparison())


def test_part_of_an_expired_batch_counts_and_each_failure_has_its_reason() -> None:
    plan = BatchPlan(1, "expired", {1: "errored", 2: "filtered", 3: "expired", 4: "missing"})

    async def work(asked: OpenAIChat) -> None:
        state = await asked.collect(await asked.submit(comparisons(6), "t"))
        assert state.ended
        assert sorted(state.replies) == [0, 2, 5]
        assert state.replies[2].outcome == "filtered"
        assert sorted(state.failures) == [1, 3, 4]
        assert "answered 500: It went wrong" in state.failures[1]
        assert "expired" in state.failures[3]
        assert state.failures[4] == "the batch ended as 'expired' without an answer"

    with FakeProvider(batch_plan=plan) as server:
        run(oracle(server), work)


@pytest.mark.parametrize(("plan", "message"), [
    (BatchPlan(faults={1: "duplicated"}), "two answers to 't-1'"),
    (BatchPlan(faults={1: "unknown"}), "an answer to 'somebody-else-0', which was not asked in it"),
    (BatchPlan(end="failed"), "refused the batch .* as a whole .*Line 3 is no JSON"),
])  # fmt: skip
def test_a_batch_whose_answers_cannot_be_told_apart_is_refused(plan: BatchPlan, message: str) -> None:
    async def work(asked: OpenAIChat) -> None:
        batch = await asked.submit(comparisons(3), "t")
        with pytest.raises(CallError, match=message) as caught:
            await asked.collect(batch)
        assert caught.value.remedy is Remedy.STOP

    with FakeProvider(batch_plan=plan) as server:
        run(oracle(server), work)


def test_a_batch_without_probabilities_that_were_asked_for_has_failures_and_no_labels() -> None:
    asked = OpenAIChat("m", "paper-sentiment-v1", top_logprobs=5)
    body = {"choices": [{"message": {"content": "Preferred: A"}, "finish_reason": "stop"}]}
    with pytest.raises(CallError, match="log-probabilities"):
        asked._wire.reply_of(body, True)


def test_a_token_that_cannot_name_requests_is_refused() -> None:
    with FakeProvider() as server, pytest.raises(SpecError, match="the token of a batch is 'a b'"):
        run(oracle(server), lambda asked: asked.submit(comparisons(1), "a b"))
