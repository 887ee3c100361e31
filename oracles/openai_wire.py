"""The OpenAI SDK as the backend needs it: one client for each event loop, faults as CallErrors, bodies as replies."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from apl_bench.failures import CallError, Remedy
from apl_bench.oracles.remote import (
    Fault,
    FilteredError,
    Scrubber,
    bounded,
    failure,
    plain,
    token_usage,
    with_cause,
)
from apl_bench.oracles.wire import TIMEOUT_S, SdkWire
from apl_bench.types import Reply, TokenLogprob

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

KEY_VARIABLE = "OPENAI_API_KEY"
POLICY_CODES = {"content_policy_violation", "content_filter"}

_OUTCOMES = {"length": "truncated", "content_filter": "filtered"}
_LABELS = {"a", "b", "tie"}
_BROKEN = {"error", "abort"}  # what some servers say of a reply that they lost midway

T = TypeVar("T")


class Wire(SdkWire["AsyncOpenAI"]):
    """OpenAI's SDK at one address."""

    key_variable = KEY_VARIABLE

    async def attempt(self, send: Callable[[AsyncOpenAI], Awaitable[T]]) -> T:
        """What `send` gives. Raises FilteredError and CallError, neither with an SDK's exception in its context."""
        import httpx2
        import openai

        client = self._clients.get()
        try:
            return await send(client)
        except openai.APIStatusError as error:
            fault = _fault(error)
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError) as error:
            fault = Fault(None, with_cause(error))
        if fault.status == 400 and fault.code in POLICY_CODES:
            raise FilteredError(self.scrub.quote(fault.text))
        raise failure(fault, self.who, KEY_VARIABLE, self.scrub)

    def reply_of(self, body: Mapping[str, Any], with_logprobs: bool) -> Reply:
        """The reply in a response's body. Raises CallError, with the usage, where there is none in it.

        `with_logprobs` are log-probabilities that were asked for: CallError(STOP) where they did not come.
        """
        usage = token_usage(body.get("usage"))
        choice = self._choice(body, usage)
        message: Mapping[str, Any] = choice["message"]
        content, refusal = plain(message.get("content"), self.scrub), plain(message.get("refusal"), self.scrub)
        reason = plain(choice.get("finish_reason"), self.scrub)
        outcome = "refused" if refusal else _OUTCOMES.get(reason or "", "ok")
        tokens = _logprobs(choice.get("logprobs"), self.scrub)
        if with_logprobs and outcome == "ok" and content and not any(token.top for token in tokens):
            sentence = (f"{self.who} did not return the log-probabilities that top_logprobs asks for. Leave "
                        "top_logprobs out, or use a server and model that give them")  # fmt: skip
            raise CallError(sentence, Remedy.STOP, usage=usage)
        reply = Reply(
            raw=content or refusal or "",
            model=plain(body.get("model"), self.scrub) or self.model,
            outcome=outcome,
            finish_reason=reason,
            response_id=plain(body.get("id"), self.scrub),
            usage=usage,
            logprobs=tuple(token if _may_be_a_label(token.token) else token._replace(top=()) for token in tokens),
        )
        return bounded(reply, self.who)

    def _choice(self, body: Mapping[str, Any], usage: Mapping[str, int]) -> Mapping[str, Any]:
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            said = self.scrub.quote(str(body.get("error") or "no choices"))
            raise CallError(f"{self.who} sent a response without a reply: {said}", Remedy.RETRY, usage=usage)
        if str(choice.get("finish_reason")) in _BROKEN:
            raise CallError(f"{self.who} broke off its reply", Remedy.RETRY, usage=usage)
        return choice

    def _connect(self) -> AsyncOpenAI:
        import openai

        return openai.AsyncOpenAI(
            api_key=self._key(),
            base_url=self._address.url,
            max_retries=0,
            timeout=TIMEOUT_S,
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, timeout=TIMEOUT_S),
        )


def _fault(error: APIStatusError) -> Fault:
    body = error.body if isinstance(error.body, Mapping) else {}
    said = body.get("message", body.get("detail"))  # the second is how servers made with FastAPI say it
    text = said if isinstance(said, str) else str(error.body or error.message)
    code, param = (value if isinstance(value, str) else None for value in (error.code or error.type, error.param))
    return Fault(error.status_code, text, code, param, error.response.headers)


def _may_be_a_label(token: str) -> bool:
    """Where alternatives are worth keeping: all of them, for a long reply, would not fit a line of the ledger."""
    return "".join(char for char in token if char.isalnum()).lower() in _LABELS


def _logprobs(table: object, scrub: Scrubber) -> tuple[TokenLogprob, ...]:
    """The tokens of a reply; empty where the table is not exactly what it should be."""
    content = table.get("content") if isinstance(table, Mapping) else None
    try:
        return tuple(_token(entry, scrub) for entry in content or ())
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return ()


def _token(entry: Mapping[str, Any], scrub: Scrubber) -> TokenLogprob:
    pairs = [(plain(each["token"], scrub), float(each["logprob"])) for each in (entry, *(entry["top_logprobs"] or ()))]
    named = [(token, logp) for token, logp in pairs if token is not None and math.isfinite(logp)]
    if len(named) != len(pairs):
        raise ValueError("a token without a text or a number")
    return TokenLogprob(*named[0], tuple(named[1:]))
