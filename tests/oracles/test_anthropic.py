"""The Anthropic backend: what is sent, where it goes, what becomes of the key, and what comes back."""

from __future__ import annotations

import json
import traceback
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.checks.oracles import check_oracle
from apl_bench.failures import CallError, Remedy
from apl_bench.judgments.keys import request_key
from apl_bench.judgments.record import Record
from apl_bench.oracles.anthropic_messages import AnthropicMessages
from apl_bench.registry import ORACLES
from apl_bench.types import Reading, Reply, SpecError, Verdict
from tests.fake_provider import FakeProvider
from tests.oracles.hosted import ANTHROPIC_KEY as KEY
from tests.oracles.hosted import anthropic as oracle
from tests.oracles.hosted import ask, assert_one_attempt, cancel_once_arrived, comparison, failure, run

pytestmark = pytest.mark.usefixtures("loopback", "anthropic_key")


# What is sent


def test_what_is_not_set_is_not_sent() -> None:
    with FakeProvider() as server:
        asked = oracle(server)
        there, back = ask(asked, comparison(), comparison().swap())
        words = asked._words.render(comparison())
        user = {"role": "user", "content": words.user}
        assert server.calls[0].body == {"model": "m-1", "max_tokens": 2048, "system": words.system, "messages": [user]}
    assert asked.request(comparison())["messages"] == [{"role": "system", "content": words.system}, user]
    assert asked.read(there) == Reading(Verdict.FIRST)
    assert asked.read(back) == Reading(Verdict.SECOND)
    assert (there.outcome, there.finish_reason, there.response_id) == ("ok", "end_turn", "msg_1")
    assert there.usage == {"input_tokens": 72, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 128,
                           "output_tokens": 20}  # fmt: skip
    assert there.latency_s is not None


def test_a_structured_reply_and_effort_go_in_output_config() -> None:
    with FakeProvider() as server:
        asked = oracle(server, template="sentiment-v2", reply="json", effort="low", max_output_tokens=300)
        (reply,) = ask(asked)
        sent = server.calls[0].body
    schema = {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "preferred": {"type": "string", "enum": ["A", "B", "tie"]}},
        "required": ["reason", "preferred"],
        "additionalProperties": False,
    }
    assert sent["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
    assert sent["max_tokens"] == 300
    assert asked.request(comparison())["response_format"] == sent["output_config"]["format"]
    assert asked.read(reply).verdict is Verdict.FIRST
    assert json.loads(reply.raw)["preferred"] == "A"


def test_every_parameter_changes_the_key() -> None:
    base: dict[str, Any] = {"model": "m-1", "template": "paper-sentiment-v1"}
    changes: list[dict[str, Any]] = [
        {}, {"model": "m-2"}, {"template": "sentiment-v2"}, {"reply": "text"}, {"base_url": "http://127.0.0.1:1"},
        {"max_output_tokens": 99}, {"effort": "low"}, {"effort": "high"},
    ]  # fmt: skip
    keys = {request_key(AnthropicMessages(**{**base, **change}).request(comparison())) for change in changes}
    others = [comparison().swap(), comparison(repeat=1), comparison(second=" was so-so")]
    keys |= {request_key(AnthropicMessages(**base).request(other)) for other in others}
    assert len(keys) == len(changes) + 3


def test_the_key_is_golden() -> None:
    """A change here makes every recorded judgment of this backend unreachable."""
    asked = AnthropicMessages(model="claude-x", template="paper-sentiment-v1")
    key = request_key(asked.request(comparison()))
    assert key == "dc959361489f63f9cb1c14b5ae0311f9a86208f3e4a5a731ad5019a602383af6"


@pytest.mark.parametrize(("parameters", "message"), [
    ({"model": ""}, "model is ''"),
    ({"template": "sentiment-v3"}, "Did you mean 'sentiment-v2'"),
    ({"reply": "xml"}, "no form of reply called 'xml'"),
    ({"effort": "hihg"}, "Did you mean 'high'"),
    ({"max_output_tokens": 0}, "max_output_tokens is 0"),
    ({"base_url": "ftp://host"}, "base_url is 'ftp://host'"),
])  # fmt: skip
def test_parameters_that_cannot_be_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        AnthropicMessages(**{"model": "m", "template": "paper-sentiment-v1", **parameters})


def test_the_registry_makes_it_and_the_kit_finds_nothing_wrong() -> None:
    made = ORACLES.create("anthropic", {"model": "m", "template": "sentiment-v2"})
    assert isinstance(made, AnthropicMessages)
    assert check_oracle(made) == []
    with pytest.raises(SpecError, match="no parameter of the oracle 'anthropic' called 'temperature'"):
        ORACLES.create("anthropic", {"model": "m", "template": "sentiment-v2", "temperature": 0})


# Where it is sent, and the key


def test_the_environment_does_not_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "another-secret-token")
    with FakeProvider() as server, FakeProvider() as elsewhere:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", elsewhere.root_url)
        ask(oracle(server, base_url=server.base_url))  # with or without /v1
        assert (len(server.calls), len(elsewhere.calls)) == (1, 0)
        assert not any("another-secret-token" in value for value in server.calls[0].headers.values())
    paid = AnthropicMessages("m", "paper-sentiment-v1")
    assert paid.identity() == {"base_url": "api.anthropic.com"}
    assert str(paid._wire._connect().base_url).rstrip("/") == "https://api.anthropic.com"


def test_a_redirect_is_not_followed() -> None:
    with FakeProvider() as elsewhere, FakeProvider(faults=[f"redirect:{elsewhere.root_url}/v1/messages"]) as server:
        error = failure(oracle(server))
        assert (len(server.calls), len(elsewhere.calls)) == (1, 0)
    assert error.remedy is Remedy.STOP
    assert "answered 307: Moved. It sends requests on to another address" in str(error)


def test_without_a_key_nothing_is_sent_and_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    error = failure(AnthropicMessages("m", "paper-sentiment-v1"))
    assert error.remedy is Remedy.STOP
    assert "the environment has no ANTHROPIC_API_KEY" in str(error)
    with FakeProvider() as server:
        ask(oracle(server))
        assert "Bearer no-key" in server.calls[0].headers.values() or server.calls[0].headers["x-api-key"] == "no-key"


def test_the_key_comes_back_in_nothing() -> None:
    with FakeProvider(faults=["401", f"says:{KEY}\nPreferred: A", "404"]) as server:
        asked = oracle(server)
        errors = [failure(asked)]
        (reply,) = ask(asked)
        errors.append(failure(asked))
    assert asked.read(reply).verdict is Verdict.FIRST
    shown = [*map(repr, errors), repr(asked), reply.raw]
    for error in errors:
        assert error.__context__ is None
        shown.append("".join(traceback.format_exception(error)))
    assert not any(KEY in text for text in shown)
    assert "[key]" in str(errors[0])


def test_a_model_that_the_sdk_calls_deprecated_brings_no_warning_of_its_own() -> None:
    from anthropic.resources.messages.messages import DEPRECATED_MODELS

    with FakeProvider() as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(oracle(server, model=next(iter(DEPRECATED_MODELS))))


# What comes back

FAULTS: list[tuple[str, Remedy, float | None, str]] = [
    ("rate-limit:7", Remedy.SLOW_DOWN, 7.0, "answered 429: Slow down. It asks for fewer calls"),
    ("rate-limit:7200", Remedy.SLOW_DOWN, 7200.0, "429"),  # the SDK itself would sleep for two hours
    ("rate-limit-bare", Remedy.SLOW_DOWN, None, "429"),
    ("408", Remedy.RETRY, None, "answered 408"),
    ("409", Remedy.RETRY, None, "answered 409"),
    ("500", Remedy.RETRY, None, "answered 500"),
    ("503", Remedy.RETRY, None, "answered 503"),
    ("529", Remedy.SLOW_DOWN, None, "answered 529: Overloaded"),
    ("401", Remedy.STOP, None, "environment variable ANTHROPIC_API_KEY holds a valid key"),
    ("403", Remedy.STOP, None, "use another key or model"),
    ("404", Remedy.STOP, None, "(m-1) answered 404"),
    ("unsupported:output_config.effort", Remedy.STOP, None, "set reply to 'text' and leave out effort"),
    ("unsupported:max_tokens", Remedy.STOP, None, "change token_parameter or max_output_tokens"),
    ("too-long", Remedy.STOP, None, "The texts are too long"),
    ("malformed", Remedy.RETRY, None, "no JSON object"),
    ("wrong-type", Remedy.RETRY, None, "no JSON object"),
    ("empty-choices", Remedy.RETRY, None, "without a message"),
    ("hang-up", Remedy.RETRY, None, "gave no answer: Connection error"),
    ("hang-up-after-head", Remedy.RETRY, None, "gave no answer"),
    ("half-body", Remedy.RETRY, None, "gave no answer"),
]


@pytest.mark.parametrize(("fault", "remedy", "after_s", "text"), FAULTS)
def test_a_fault_is_one_sentence_and_one_attempt(fault: str, remedy: Remedy, after_s: float | None, text: str) -> None:
    with FakeProvider(faults=[fault]) as server:
        assert_one_attempt(server, oracle(server), remedy, after_s, text)


@pytest.mark.parametrize(("fault", "outcome", "reason"), [
    ("truncated", "truncated", "max_tokens"),
    ("window", "truncated", "model_context_window_exceeded"),
    ("pause", "truncated", "pause_turn"),
    ("refusal", "refused", "refusal"),
    ("policy", "filtered", "content_filter"),
    ("gibberish", "ok", "end_turn"),
])  # fmt: skip
def test_what_is_an_answer_but_no_verdict_is_kept_and_invalid(fault: str, outcome: str, reason: str) -> None:
    with FakeProvider(faults=[fault]) as server:
        asked = oracle(server)
        (reply,) = ask(asked)
    assert (reply.outcome, reply.finish_reason) == (outcome, reason)
    assert asked.read(reply) == Reading(Verdict.INVALID)
    Record.of(asked.request(comparison()), reply).to_line()


def test_only_text_blocks_are_the_reply() -> None:
    asked = AnthropicMessages("m", "paper-sentiment-v1", "text")
    blocks = [{"type": "thinking", "thinking": "Preferred: B"}, {"type": "text", "text": "Comparison: x\n"},
              {"type": "text", "text": "Preferred: A"}]  # fmt: skip
    reply = asked._wire.reply_of({"content": blocks, "stop_reason": "end_turn"})
    assert asked.read(reply).verdict is Verdict.FIRST


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["content", "type", "text", "usage", "stop_reason", "id", "model"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(json_values, json_values)
def test_any_json_is_a_reply_or_a_call_error(body: Any, usage: Any) -> None:
    asked = AnthropicMessages("m", "paper-sentiment-v1")
    try:
        reply = asked._wire.reply_of({"usage": usage, **body} if isinstance(body, dict) else {"content": body})
    except CallError:
        return
    assert asked.read(reply).verdict is Verdict.INVALID
    Record.of(asked.request(comparison()), reply).to_line()


def test_a_call_can_be_cancelled_and_the_next_one_works() -> None:
    async def work(asked: AnthropicMessages) -> Reply:
        await cancel_once_arrived(asked, server)
        return await asked.call(comparison())

    with FakeProvider(faults=["stall"]) as server:
        asked = oracle(server)
        assert asked.read(run(asked, work)).verdict is Verdict.FIRST
