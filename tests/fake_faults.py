"""What can go wrong between a client and the fake provider, by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING, Any

from tests.fake_answers import chat_completion, message

if TYPE_CHECKING:
    from tests.fake_provider import Call


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as bytes. `data` None hangs up without a word; `claimed_bytes` more than there are hangs up midway;
    `delay_s` waits before, `drip_s` is how long the body takes.
    """

    data: bytes | None
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    claimed_bytes: int = 0
    delay_s: float = 0.0
    drip_s: float = 0.0

    @property
    def whole(self) -> bool:
        return self.data is not None and not self.claimed_bytes


def as_json(body: object, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(json.dumps(body).encode(), status, headers=named)


def error(status: int, text: str, code: str | None = None, param: str | None = None, **headers: str) -> Answer:
    """An error body that either SDK can read."""
    detail = {"message": text, "type": code or "error", "code": code, "param": param}
    return as_json({"type": "error", "error": detail}, status, **headers)


def rate_limited(after_s: float | None) -> Answer:
    """429 with or without word of when to come back."""
    headers = {} if after_s is None else {"retry_after_ms": str(round(after_s * 1000))}
    return error(429, "Rate limit reached", "rate_limit_exceeded", **headers)


def good_answer(path: str, body: dict[str, Any], number: int) -> Answer:
    make = message if path == "/v1/messages" else chat_completion
    return as_json(make(body, number), request_id=f"req_{number}", x_request_id=f"req_{number}")


def _changed(openai: Callable[[dict[str, Any]], None], anthropic: Callable[[dict[str, Any]], None]) -> _Fault:
    """A good answer with something changed in its body."""

    def fault(call: Call, number: int, value: str) -> Answer:
        del value
        is_message = call.path == "/v1/messages"
        body = message(call.body, number) if is_message else chat_completion(call.body, number)
        (anthropic if is_message else openai)(body)
        return as_json(body)

    return fault


def _stop(openai: str, anthropic: str, share: float = 1.0, refusal: str | None = None) -> _Fault:
    """A reply that ended for another reason, with the first `share` of its text."""

    def chat(body: dict[str, Any]) -> None:
        choice = body["choices"][0]
        text = choice["message"]["content"]
        choice["finish_reason"] = openai
        choice["message"]["content"] = text[: int(len(text) * share)] if refusal is None else None
        choice["message"]["refusal"] = refusal
        if "logprobs" in choice:
            choice["logprobs"] = None

    def messages(body: dict[str, Any]) -> None:
        text = body["content"][0]["text"]
        body["stop_reason"] = anthropic
        body["content"] = [{"type": "text", "text": text[: int(len(text) * share)]}] if share else []

    return _changed(chat, messages)


def _says(text: str) -> _Fault:
    def fault(call: Call, number: int, value: str) -> Answer:
        make = message if call.path == "/v1/messages" else chat_completion
        return as_json(make(call.body, number, value or text))

    return fault


def _status(status: int, text: str, code: str | None = None, param: str | None = None) -> _Fault:
    return lambda _call, _number, _value: error(status, text, code, param)


def _hang_up(call: Call, number: int, value: str) -> Answer:
    return Answer(None)


def _half_body(call: Call, number: int, value: str) -> Answer:
    data = good_answer(call.path, call.body, number).data or b""
    return Answer(data[: len(data) // 2], claimed_bytes=len(data))


def _no_body(call: Call, number: int, value: str) -> Answer:
    return Answer(b"", claimed_bytes=500)


def _slow_body(call: Call, number: int, value: str) -> Answer:
    return Answer(good_answer(call.path, call.body, number).data, drip_s=float(value or 1))


def _echo_key(call: Call, number: int, value: str) -> Answer:
    sent = call.headers.get("authorization") or call.headers.get("x-api-key")
    return error(401, f"Incorrect API key provided: {sent}.", "invalid_api_key")


def _unsupported(call: Call, number: int, value: str) -> Answer:
    """A parameter that the model does not take: OpenAI names it in a field, Anthropic at the start of its text."""
    name = value or "temperature"
    if call.path == "/v1/messages":
        return error(400, f"{name}: Extra inputs are not permitted", "invalid_request_error")
    return error(400, f"Unsupported value: '{name}' does not support 0.5 with this model.", "unsupported_value", name)


def _no_choices(body: dict[str, Any]) -> None:
    body["choices"] = []


def _no_logprobs(body: dict[str, Any]) -> None:
    body["choices"][0].pop("logprobs", None)


def _no_content(body: dict[str, Any]) -> None:
    del body["content"]


_Fault = Callable[["Call", int, str], Answer]

FAULTS: Mapping[str, _Fault] = {
    "rate-limit": lambda _call, _number, value: error(
        429, "Slow down", "rate_limit_exceeded", retry_after=value or "1"
    ),
    "rate-limit-ms": lambda _call, _number, value: error(429, "Slow down", retry_after_ms=value or "50"),
    "rate-limit-date": lambda _call, _number, value: error(
        429, "Slow down", retry_after=formatdate(time() + float(value or 2), usegmt=True)
    ),
    "rate-limit-bare": _status(429, "Slow down", "rate_limit_exceeded"),
    "quota": _status(429, "You exceeded your current quota", "insufficient_quota"),
    "408": _status(408, "Request timeout"),
    "409": _status(409, "Conflict"),
    "500": _status(500, "The server had an error"),
    "503": _status(503, "Overloaded"),
    "529": _status(529, "Overloaded", "overloaded_error"),
    "401": _echo_key,
    "403": _status(403, "Country, region, or territory not supported", "unsupported_country_region_territory"),
    "404": _status(404, "The model does not exist or you do not have access to it.", "model_not_found"),
    "unsupported": _unsupported,
    "detail": lambda _call, _number, value: as_json(
        {"detail": value or "Server is pinned to 'm'; requested 'n'."}, 400
    ),
    "too-long": _status(
        400, "This model's maximum context length is 8192 tokens", "context_length_exceeded", "messages"
    ),
    "policy": _status(400, "Output blocked by content filtering policy", "content_filter"),
    "redirect": lambda _call, _number, value: error(307, "Moved", location=value),
    "stall": lambda call, number, value: Answer(
        good_answer(call.path, call.body, number).data, delay_s=float(value or 3600)
    ),
    "slow-body": _slow_body,
    "truncated": _stop("length", "max_tokens", share=0.5),
    "refusal": _stop("stop", "refusal", share=0.0, refusal="I can't help with that."),
    "filter": _stop("content_filter", "refusal", share=0.3),
    "window": _stop("length", "model_context_window_exceeded", share=0.5),
    "pause": _stop("tool_calls", "pause_turn", share=0.5),
    "malformed": lambda _call, _number, _value: Answer(b'{"id": "chatcmpl-1", "choices": [{"ind'),
    "wrong-type": lambda _call, _number, _value: Answer(b"<html>gateway</html>", content_type="text/html"),
    "not-a-table": lambda _call, _number, _value: Answer(b"[1, 2]"),
    "empty-choices": _changed(_no_choices, _no_content),
    "no-logprobs": _changed(_no_logprobs, lambda body: None),
    "gibberish": _says("I would rather not say."),
    "says": _says("Preferred: A"),
    "hang-up": _hang_up,
    "hang-up-after-head": _no_body,
    "half-body": _half_body,
}
