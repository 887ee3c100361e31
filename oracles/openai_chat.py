"""OpenAI's chat completions, and every server that speaks them (vLLM, llama.cpp, Ollama, ...) by its `base_url`.

A parameter is sent only where it is set, because newer models refuse those that older ones need; one that a model
refuses stops the run with its name, and is never dropped in silence. The SDK retries nothing: the harness does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from apl_bench.oracles import openai_batches
from apl_bench.oracles.hosted import Hosted
from apl_bench.oracles.openai_wire import KEY_VARIABLE, Wire
from apl_bench.oracles.remote import FilteredError, table_of
from apl_bench.spec import nearest, require
from apl_bench.types import JSON, BatchState, Comparison, Reply

TOKEN_PARAMETERS = ("max_completion_tokens", "max_tokens")

_NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_WORDS = ("reasoning_effort", "verbosity")


@dataclass(eq=False)
class OpenAIChat(Hosted):
    """One question a call to a chat model. Raises SpecError for parameters that cannot be.

    `reply` is "json" (a strict schema) or "text" (the template's own format); None means "json" at OpenAI itself and
    "text" at a `base_url`. `token_parameter` is the name by which the server knows `max_output_tokens`. `top_logprobs`
    (2 to 20) asks for p_first, and a server that does not give it stops the run. Repeat r is sent `seed` + r, since the
    same seed would only say the same again. `extra_body` is added to the request for what only some servers know.
    """

    summary: ClassVar[str] = "chat completions of OpenAI or a compatible server (base_url), batches too; costs money"
    max_batch: ClassVar[int] = openai_batches.MAX_REQUESTS
    provider: ClassVar[str] = "openai"
    default_url: ClassVar[str] = "https://api.openai.com/v1"
    key_variable: ClassVar[str] = KEY_VARIABLE

    token_parameter: str = "max_completion_tokens"
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    top_logprobs: int | None = None
    extra_body: Mapping[str, JSON] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._wire = Wire(self._address, self.model, needs_key=self.base_url is None)

    def body(self, comparison: Comparison) -> dict[str, Any]:
        """The JSON of one request as it is sent: what is not set is not in it."""
        settings = {name: getattr(self, name) for name in (*_NUMBERS, *_WORDS)}
        body = {
            "model": self.model,
            "messages": self._messages(comparison),
            self.token_parameter: self.max_output_tokens,
            "seed": self._seed(comparison),
            "logprobs": None if self.top_logprobs is None else True,
            "top_logprobs": self.top_logprobs,
            "response_format": self._response_format(),
            **settings,
        }
        return {name: value for name, value in body.items() if value is not None} | dict(self.extra_body or {})

    async def call(self, comparison: Comparison) -> Reply:
        """One attempt. A refusal and a cut or filtered reply are replies; CallError for what is no answer."""
        body = self.body(comparison)  # as extra_body, which takes precedence: the SDK's typing of it costs a fifth
        try:
            answer = await self._wire.attempt(
                lambda client: client.chat.completions.with_raw_response.create(
                    model=self.model, messages=[], extra_body=body
                )
            )
        except FilteredError as error:
            return self._wire.filtered(str(error))
        response = answer.http_response
        latency_s = round(response.elapsed.total_seconds(), 3)
        table = table_of(response.text, self._wire.who, self._wire.scrub)
        return replace(self._wire.reply_of(table, self.top_logprobs is not None), latency_s=latency_s)

    async def submit(self, comparisons: Sequence[Comparison], token: str) -> str:
        """Upload the requests as one file and start a batch that carries `token` in its metadata."""
        return await openai_batches.submit(self._wire, [self.body(each) for each in comparisons], token)

    async def find(self, token: str) -> str | None:
        """The oldest batch that carries `token` in its metadata; None if there is none."""
        return await openai_batches.find(self._wire, token)

    async def collect(self, batch_id: str) -> BatchState:
        """Where the batch is; once it has ended, also early, what stands in its output file and its error file."""
        return await openai_batches.collect(self._wire, batch_id, self.top_logprobs is not None)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self._wire.close()

    def _parameters(self, comparison: Comparison) -> dict[str, JSON]:
        names = ("max_output_tokens", "token_parameter", "top_logprobs", *_NUMBERS, *_WORDS)
        parameters: dict[str, JSON] = {name: getattr(self, name) for name in names}
        return {**parameters, "seed": self._seed(comparison), "extra_body": self.extra_body}

    def _seed(self, comparison: Comparison) -> int | None:
        return None if self.seed is None else self.seed + comparison.repeat

    def _response_format(self) -> dict[str, JSON] | None:
        if self._form == "text":
            return None
        schema: dict[str, JSON] = {"name": "verdict", "strict": True, "schema": self._words.schema()}
        return {"type": "json_schema", "json_schema": schema}

    def _check(self) -> None:
        super()._check()
        if self.token_parameter not in TOKEN_PARAMETERS:
            raise nearest(str(self.token_parameter), "token_parameter", TOKEN_PARAMETERS)
        _require_int("max_output_tokens", self.max_output_tokens, 1, 2**31)
        for name, low, high in (("seed", -(2**53) + 2**20, 2**53 - 2**20), ("top_logprobs", 2, 20)):
            if getattr(self, name) is not None:
                _require_int(name, getattr(self, name), low, high)
        for name in _NUMBERS:
            value = getattr(self, name)
            usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            require(value is None or usable, name, value, "a number, or nothing so that it is not sent")
        for name in _WORDS:
            value = getattr(self, name)
            require(value is None or isinstance(value, str), name, value, "a word, or nothing so that it is not sent")
        self._check_extra()

    def _check_extra(self) -> None:
        extra = {} if self.extra_body is None else self.extra_body
        require(isinstance(extra, Mapping), "extra_body", extra, "a table of request fields")
        ours = {"model", "messages", "n", "stream", "logprobs", "response_format", "seed", "top_logprobs"}
        taken = sorted(({*ours, *TOKEN_PARAMETERS, *_NUMBERS, *_WORDS}) & set(extra))
        require(not taken, "extra_body", taken, "fields that are not parameters of this oracle, nor ones it relies on")


def _require_int(name: str, value: object, low: int, high: int) -> None:
    usable = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    require(usable, name, value, f"a whole number from {low} to {high}")
