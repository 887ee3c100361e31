"""Anthropic's messages. Its SDK has no temperature, seed or log-probabilities, so that there is no p_first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from apl_bench.oracles import anthropic_batches
from apl_bench.oracles.anthropic_wire import KEY_VARIABLE, Wire
from apl_bench.oracles.hosted import Hosted
from apl_bench.oracles.remote import FilteredError, table_of
from apl_bench.spec import nearest, require
from apl_bench.types import JSON, BatchState, Comparison, Reply

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclass(eq=False)
class AnthropicMessages(Hosted):
    """One question a message to a model of Anthropic's. Raises SpecError for parameters that cannot be.

    `reply` is "json" (the schema goes in output_config) or "text" (the template's own format); None means "json" at
    Anthropic itself and "text" at a `base_url`. `effort` is sent only where it is set.
    """

    summary: ClassVar[str] = "messages of Anthropic's models, batches too; costs money"
    max_batch: ClassVar[int] = anthropic_batches.MAX_REQUESTS
    provider: ClassVar[str] = "anthropic"
    default_url: ClassVar[str] = "https://api.anthropic.com"
    key_variable: ClassVar[str] = KEY_VARIABLE

    effort: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._wire = Wire(self._address, self.model, needs_key=self.base_url is None)

    def body(self, comparison: Comparison) -> dict[str, Any]:
        """The JSON of one request as it is sent: what is not set is not in it."""
        words = self._words.render(comparison)
        settings = {"effort": self.effort, "format": self._response_format()}
        output = {name: value for name, value in settings.items() if value}
        body = {
            "model": self.model,
            "max_tokens": self.max_output_tokens,
            "system": words.system,
            "messages": [{"role": "user", "content": words.user}],
        }
        return {**body, "output_config": output} if output else body

    async def call(self, comparison: Comparison) -> Reply:
        """One attempt. A refusal and a cut or filtered reply are replies; CallError for what is no answer."""
        body = self.body(comparison)

        async def send(client: AsyncAnthropic) -> tuple[str, float]:
            response = await client.messages.with_raw_response.create(**body)
            return await response.text(), response.elapsed.total_seconds()

        try:
            text, latency_s = await self._wire.attempt(send)
        except FilteredError as error:
            return self._wire.filtered(str(error))
        reply = self._wire.reply_of(table_of(text, self._wire.who, self._wire.scrub))
        return replace(reply, latency_s=round(latency_s, 3))

    async def submit(self, comparisons: Sequence[Comparison], token: str) -> str:
        """Start a batch whose requests are named after `token` and their position."""
        return await anthropic_batches.submit(self._wire, [self.body(each) for each in comparisons], token)

    async def find(self, token: str) -> str | None:
        """The batch whose requests are named after `token`; CallError(STOP) where that cannot be seen yet."""
        return await anthropic_batches.find(self._wire, token)

    async def collect(self, batch_id: str) -> BatchState:
        """Where the batch is; once it has ended, its results by position."""
        return await anthropic_batches.collect(self._wire, batch_id)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self._wire.close()

    def _url(self) -> str:
        return super()._url().rstrip("/").removesuffix("/v1")  # the SDK adds it

    def _parameters(self, comparison: Comparison) -> dict[str, JSON]:
        del comparison
        return {"max_output_tokens": self.max_output_tokens, "effort": self.effort}

    def _response_format(self) -> dict[str, JSON] | None:
        return {"type": "json_schema", "schema": self._words.schema()} if self._form == "json" else None

    def _check(self) -> None:
        super()._check()
        if self.effort is not None and self.effort not in EFFORTS:
            raise nearest(str(self.effort), "effort", EFFORTS)
        usable = type(self.max_output_tokens) is int and self.max_output_tokens > 0
        require(usable, "max_output_tokens", self.max_output_tokens, "a whole number from 1")
