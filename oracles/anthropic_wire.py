"""The Anthropic SDK as the backend needs it: a client for each event loop, faults as CallErrors, bodies as replies."""

from __future__ import annotations

import re
import warnings
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from apl_bench.failures import CallError, Remedy
from apl_bench.oracles.remote import (
    Fault,
    FilteredError,
    bounded,
    failure,
    plain,
    table_of,
    token_usage,
    with_cause,
)
from apl_bench.oracles.wire import TIMEOUT_S, SdkWire
from apl_bench.types import Reply

if TYPE_CHECKING:
    from anthropic import APIStatusError, AsyncAnthropic

KEY_VARIABLE = "ANTHROPIC_API_KEY"

# A turn pauses for tools only, and none are sent; what there is of it is paid for and not the whole.
_OUTCOMES = {
    "max_tokens": "truncated",
    "model_context_window_exceeded": "truncated",
    "pause_turn": "truncated",
    "refusal": "refused",
}
_FILTERED = re.compile(r"content filtering policy", re.IGNORECASE)
_TOO_LONG = re.compile(r"prompt is too long", re.IGNORECASE)
_NAMED_FIRST = re.compile(r"([a-z_]+(?:\.[a-z0-9_]+)*): ")  # "temperature: Extra inputs are not permitted"

T = TypeVar("T")


class Wire(SdkWire["AsyncAnthropic"]):
    """Anthropic's SDK at one address."""

    key_variable = KEY_VARIABLE

    async def attempt(self, send: Callable[[AsyncAnthropic], Awaitable[T]]) -> T:
        """What `send` gives. Raises FilteredError and CallError, neither with an SDK's exception in its context."""
        import anthropic
        import httpx2

        client = self._clients.get()
        try:
            return await send(client)
        except anthropic.APIStatusError as error:
            fault = _fault(error)
        except (anthropic.AnthropicError, httpx2.HTTPError, httpx2.StreamError) as error:
            fault = Fault(None, with_cause(error))
        raise self.refusal(fault)

    async def table(self, send: Callable[[AsyncAnthropic], Awaitable[Any]]) -> dict[str, Any]:
        """The JSON object that a raw response holds."""

        async def read(client: AsyncAnthropic) -> str:
            response = await send(client)
            return str(await response.text())

        return table_of(await self.attempt(read), self.who, self.scrub)

    def refusal(self, fault: Fault) -> CallError | FilteredError:
        """The exception of a fault."""
        if fault.status == 400 and _FILTERED.search(fault.text):
            return FilteredError(self.scrub.quote(fault.text))
        return failure(fault, self.who, KEY_VARIABLE, self.scrub)

    def reply_of(self, message: Mapping[str, Any]) -> Reply:
        """The reply in a message: its text blocks. Raises CallError(RETRY), with the usage, for what is no message."""
        usage, blocks = token_usage(message.get("usage")), message.get("content")
        reason = plain(message.get("stop_reason"), self.scrub)
        if not isinstance(blocks, list) or not all(isinstance(block, Mapping) for block in blocks):
            raise CallError(f"{self.who} sent a response without a message", Remedy.RETRY, usage=usage)
        texts = [plain(block.get("text"), self.scrub) for block in blocks if block.get("type") == "text"]
        reply = Reply(
            raw="".join(text for text in texts if text is not None),
            model=plain(message.get("model"), self.scrub) or self.model,
            outcome=_OUTCOMES.get(reason or "", "ok"),
            finish_reason=reason,
            response_id=plain(message.get("id"), self.scrub),
            usage=usage,
        )
        return bounded(reply, self.who)

    def _connect(self) -> AsyncAnthropic:
        import anthropic

        # The SDK's own warning about a model names no run; a model that has ended is a 404, and says so.
        warnings.filterwarnings("ignore", r"(?s)The model '.*' is deprecated", DeprecationWarning)
        return anthropic.AsyncAnthropic(
            api_key=self._key(),
            base_url=self._address.url,
            max_retries=0,
            timeout=TIMEOUT_S,
            http_client=anthropic.DefaultAsyncHttpxClient(follow_redirects=False, timeout=TIMEOUT_S),
        )


def fault_of(status: int | None, error: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Fault:
    """The fault in an error object of the provider, which has a type and a message."""
    text, code = str(error.get("message") or "no reason given"), str(error.get("type"))
    named = _NAMED_FIRST.match(text)
    code = "context_length_exceeded" if _TOO_LONG.search(text) else code
    return Fault(status, text, code, named[1] if named else None, headers)


def _fault(error: APIStatusError) -> Fault:
    body = error.body if isinstance(error.body, Mapping) else {}
    detail = body.get("error")
    if isinstance(detail, Mapping):
        return fault_of(error.status_code, detail, error.response.headers)
    return Fault(error.status_code, str(error.body or error.message), headers=error.response.headers)
