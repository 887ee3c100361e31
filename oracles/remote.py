"""What the backends that ask over a network share: keys, addresses, errors as sentences, usage, an upper bound.

A key comes from the environment alone and leaves this process only in a request's header: every text that comes back
passes a Scrubber, because providers repeat the key that they refuse.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from apl_bench.failures import CallError, Remedy
from apl_bench.templates import Messages
from apl_bench.types import Reply, SpecError

MAX_RAW_CHARS = 500_000
MAX_QUOTED_CHARS = 240
OVERHEAD_TOKENS = 512  # of a request beyond its texts: roles, the wrapping of a schema
OVERHEAD_TOKENS_PER_MESSAGE = 32

_MIN_SECRET_CHARS = 6  # a shorter one, such as "x" for a local server, is no secret and stands in every text
_KEY_LIKE = re.compile(r"\b(?:sk|rk|pk|sess|org|proj)-[A-Za-z0-9_*.\-]{6,}|\b(?:Bearer|Basic)\s+\S+")
_SCHEMES = ("http", "https")


class Scrubber:
    """Takes known secrets, and what looks like a key, out of texts; it shows nothing of them itself."""

    def __init__(self, secrets: Iterable[str | None]) -> None:
        self._secrets = [each for each in secrets if each and len(each) >= _MIN_SECRET_CHARS]

    def __call__(self, text: str) -> str:
        """The text without the known secrets: for what a judge said, where nothing else may change."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text

    def quote(self, text: str) -> str:
        """One printable line for an error, without anything that looks like a key, cut to MAX_QUOTED_CHARS."""
        line = "".join(char if char.isprintable() else " " for char in _KEY_LIKE.sub("[key]", self(text)))
        line = " ".join(line.split())
        return line if len(line) <= MAX_QUOTED_CHARS else line[: MAX_QUOTED_CHARS - 3] + "..."

    def __repr__(self) -> str:
        return f"Scrubber({len(self._secrets)} secrets)"


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where requests go. `url` may hold a password, `public` (host, port and path) never does."""

    url: str
    public: str
    secrets: tuple[str, ...]

    @classmethod
    def of(cls, url: str) -> Address:
        """Raises SpecError, without the password, for what is no http address."""
        try:
            parts = urlsplit(url)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            raise SpecError("base_url is no address; expected one such as 'http://127.0.0.1:8000/v1'") from None
        if parts.scheme not in _SCHEMES or not parts.hostname or parts.query or parts.fragment:
            seen = f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
            raise SpecError(f"base_url is {seen!r}; expected one such as 'http://127.0.0.1:8000/v1', without ? and #")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(url.rstrip("/"), f"{host}{port}{parts.path.rstrip('/')}", _secrets(parts.username, parts.password))

    def __repr__(self) -> str:
        return f"Address({self.public!r})"


def _secrets(user: str | None, password: str | None) -> tuple[str, ...]:
    """The password of an address in the forms in which it travels: as it stands, decoded, and in a Basic header."""
    if not password:
        return ()
    header = base64.b64encode(f"{unquote(user or '')}:{unquote(password)}".encode()).decode()
    return password, unquote(password), header


def key_from_environment(variable: str, needed_by: str | None) -> str | None:
    """The key in the environment; None where it has none, unless somebody needs it: CallError(STOP) with its name."""
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise CallError(f"{variable} holds characters that no key has, such as those of a shortened copy; set it to "
                        "the whole key", Remedy.STOP)  # fmt: skip
    if key or needed_by is None:
        return key or None
    raise CallError(
        f"{needed_by} needs a key, and the environment has no {variable}. Set it (export {variable}=...) and run the "
        "same command again; nothing was sent",
        Remedy.STOP,
    )


class FilteredError(Exception):
    """The provider refused one request for what its texts say: that is an answer, and no fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What an SDK says of a call that failed; `status` is None where no response came."""

    status: int | None
    text: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] | None = None


_OUT_OF_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_error", "access_terminated"}
_ADVICE = {
    400: "The request itself is refused; change the parameters of the oracle",
    401: "Check that the environment variable {variable} holds a valid key",
    402: "Add credit or raise the limit of the account, and run the same command again",
    403: "This key may not do that; use another key or model",
    404: "Check the model's name, and base_url if one is set",
    413: "The texts are too long for this provider; shorten them or choose another model",
    422: "The request itself is refused; change the parameters of the oracle",
}
_ELSEWHERE = "It sends requests on to another address, which the record would not name; set base_url to that one"
_LEAVE_OUT = "leave it out of the oracle's parameters, so that it is not sent"
_OUR_NAMES = {
    "max_tokens": "change token_parameter or max_output_tokens",
    "max_completion_tokens": "change token_parameter or max_output_tokens",
    "response_format": "set reply to 'text'",
    "output_config": "set reply to 'text' and leave out effort",
    "logprobs": "leave out top_logprobs",
}
_RETRIED = {408, 409, 425}
_SLOWED = {429, 529}


def failure(fault: Fault, who: str, variable: str, scrub: Scrubber) -> CallError:
    """The CallError of a fault: one sentence on what happened and what to do, without keys."""
    said = scrub.quote(fault.text).rstrip(".")
    if fault.status is None:
        return CallError(f"{who} gave no answer: {said}", Remedy.RETRY)
    after_s = retry_after_s(fault.headers or {})
    if fault.code in _OUT_OF_CREDIT:
        remedy, advice = Remedy.STOP, _ADVICE[402]
    elif fault.status in _SLOWED:
        remedy, advice = Remedy.SLOW_DOWN, "It asks for fewer calls"
    elif fault.status >= 500 or fault.status in _RETRIED:
        remedy, advice = Remedy.RETRY, "The same call may succeed later"
    else:
        remedy, advice, after_s = Remedy.STOP, _what_to_change(fault, variable, scrub), None
    return CallError(f"{who} answered {fault.status}: {said}. {advice}", remedy, after_s, answered=True)


def _what_to_change(fault: Fault, variable: str, scrub: Scrubber) -> str:
    if 300 <= (fault.status or 0) < 400:
        return _ELSEWHERE
    if fault.code == "context_length_exceeded":
        return _ADVICE[413]
    name = (fault.param or "messages").split(".")[0]
    if fault.status in (400, 422) and name != "messages":
        return (f"It refuses the parameter {scrub.quote(fault.param or '')!r}: "
                f"{_OUR_NAMES.get(name, _LEAVE_OUT)}, or choose a model that takes it")  # fmt: skip
    return _ADVICE.get(fault.status or 0, "No call can succeed like this").format(variable=variable)


def with_cause(error: Exception) -> str:
    """What an SDK's error says and what is behind it, such as "Connection error. (ConnectError: refused)"."""
    cause = error.__cause__
    return str(error) if cause is None else f"{error} ({type(cause).__name__}: {cause})"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until a retry, as the provider asks for them: retry-after-ms, or retry-after in seconds or as a date."""
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit_s
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    try:
        return max(parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time(), 0.0)
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def table_of(text: str, who: str, scrub: Scrubber) -> dict[str, Any]:
    """The JSON object of a response's body. Raises CallError(RETRY) for anything else."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):  # raised out here, or the text, unscrubbed, would hang on to the error
        raise CallError(f"{who} sent a response that is no JSON object: {scrub.quote(text[:5000])!r}", Remedy.RETRY)
    return table


def plain(value: object, scrub: Scrubber) -> str | None:
    """A text as the ledger can hold it: without keys and without halves of surrogate pairs; None for no text."""
    if not isinstance(value, str):
        return None
    return scrub(value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def token_usage(usage: object) -> dict[str, int]:
    """The counts that a provider reports, under its own names; a detail is `prompt_tokens_details.cached_tokens`."""
    counts: dict[str, int] = {}
    for name, value in usage.items() if isinstance(usage, Mapping) else ():
        details = value.items() if isinstance(value, Mapping) else ()
        counts |= {f"{name}.{detail}": count for detail, count in details if _countable(detail, count)}
        if _countable(name, value):
            counts[name] = value
    return {name: count for name, count in counts.items() if name.isascii()}


def _countable(name: object, value: object) -> bool:
    return isinstance(name, str) and type(value) is int and 0 <= value < 2**53


def bounded(reply: Reply, who: str) -> Reply:
    """The reply, unless it is longer than any judge's. Raises CallError(STOP), with its usage."""
    if len(reply.raw) > MAX_RAW_CHARS:
        sentence = (f"{who} sent a reply of {len(reply.raw)} characters for a sentence and a verdict. Lower "
                    "max_output_tokens, or choose another model")  # fmt: skip
        raise CallError(sentence, Remedy.STOP, usage=reply.usage)
    return reply


def max_input_tokens(messages: Messages, schema: Mapping[str, object] | None) -> int:
    """An upper bound without a tokenizer: no token of the known ones is shorter than a byte of its normalised text."""
    texts = [messages.system, messages.user, json.dumps(schema) if schema else ""]
    return OVERHEAD_TOKENS + sum(OVERHEAD_TOKENS_PER_MESSAGE + _num_bytes(text) for text in texts)


def _num_bytes(text: str) -> int:
    return len(text) if text.isascii() else max(len(form.encode()) for form in _forms(text))


def _forms(text: str) -> Sequence[str]:
    return text, unicodedata.normalize("NFKC", text), unicodedata.normalize("NFD", text)
