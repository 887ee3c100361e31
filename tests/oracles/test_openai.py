"""The OpenAI backend: what is sent, where it goes, and what becomes of the key."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from typing import Any

import pytest

from apl_bench.checks.oracles import check_oracle
from apl_bench.failures import Remedy
from apl_bench.judgments.keys import request_key
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.registry import ORACLES
from apl_bench.types import Reading, SpecError, Verdict
from tests.fake_provider import FakeProvider
from tests.oracles.hosted import OPENAI_KEY as KEY
from tests.oracles.hosted import ask, comparison, failure
from tests.oracles.hosted import openai as oracle

pytestmark = pytest.mark.usefixtures("loopback", "openai_key")


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
