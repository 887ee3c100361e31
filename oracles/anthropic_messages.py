"""Anthropic's messages. Its SDK has no temperature, seed or log-probabilities, so that there is no p_first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from apl_bench import templates
from apl_bench.oracles import anthropic_batches
from apl_bench.oracles.anthropic_wire import Wire
from apl_bench.oracles.remote import Address, FilteredError, max_input_tokens, table_of
from apl_bench.protocols import BatchOracle, Task
from apl_bench.spec import nearest, require
from apl_bench.types import JSON, Allowance, BatchState, Comparison, Reading, Reply
from apl_bench.verdicts import read_json, read_text

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

DEFAULT_URL = "https://api.anthropic.com"
DEFAULT_MAX_OUTPUT_TOKENS = 2048  # a sentence and a letter take a tenth of it; thoughts count too
REPLIES = ("json", "text")
EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclass(eq=False)
class AnthropicMessages(BatchOracle):
    """One question a message to a Claude model. Raises SpecError for parameters that cannot be.

    `reply` is "json" (the schema goes in output_config) or "text" (the template's own format); None means "json" at
    Anthropic itself and "text" at a `base_url`. `effort` is sent only where it is set.
    """

    summary: ClassVar[str] = "messages of Anthropic's models, batches too; costs money"
    max_batch: ClassVar[int] = anthropic_batches.MAX_REQUESTS

    model: str
    template: str
    reply: str | None = None
    base_url: str | None = field(default=None, repr=False)
    max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS
    effort: str | None = None

    def __post_init__(self) -> None:
        self._check()
        self._words = templates.load(self.template)
        self._form = self.reply or ("json" if self.base_url is None else "text")
        url = DEFAULT_URL if self.base_url is None else self.base_url
        self._address = Address.of(url.rstrip("/").removesuffix("/v1"))  # the SDK adds it
        self._wire = Wire(self._address, self.model, needs_key=self.base_url is None)

    @classmethod
    def defaults(cls, part: str, task: type[Task]) -> Mapping[str, JSON]:
        """The task's own question, in the paper's words."""
        del part
        return {"template": task.template}

    def identity(self) -> Mapping[str, JSON]:
        """Where requests go, whatever the environment says, without a user's name or password."""
        return {"base_url": self._address.public}

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        """Address, model, and all that is sent; a parameter that is not sent stands as null."""
        words = self._words.render(comparison)
        return {
            "provider": "anthropic",
            "endpoint": self._address.public,
            "model": self.model,
            "template": self.template,
            "reply": self._form,
            "parameters": {"max_output_tokens": self.max_output_tokens, "effort": self.effort},
            "response_format": self._format(),
            "messages": [{"role": "system", "content": words.system}, {"role": "user", "content": words.user}],
            "repeat": comparison.repeat,
        }

    def allowance(self, comparison: Comparison) -> Allowance:
        """Bytes of the messages and the schema and what a request adds to them, and `max_output_tokens`."""
        schema = self._words.schema() if self._form == "json" else None
        return Allowance(max_input_tokens(self._words.render(comparison), schema), self.max_output_tokens)

    def read(self, reply: Reply) -> Reading:
        """The verdict in a structured reply, or on the last line of a text, by the form that was asked for."""
        return read_json(reply, self._words) if self._form == "json" else read_text(reply, self._words)

    def body(self, comparison: Comparison) -> dict[str, Any]:
        """The JSON of one request as it is sent: what is not set is not in it."""
        words = self._words.render(comparison)
        output = {name: value for name, value in (("effort", self.effort), ("format", self._format())) if value}
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

    def _format(self) -> dict[str, JSON] | None:
        return {"type": "json_schema", "schema": self._words.schema()} if self._form == "json" else None

    def _check(self) -> None:
        require(isinstance(self.model, str) and bool(self.model), "model", self.model, "a model's name")
        require(isinstance(self.base_url, str | None), "base_url", self.base_url, "an address, or nothing")
        if self.reply is not None and self.reply not in REPLIES:
            raise nearest(str(self.reply), "form of reply", REPLIES)
        if self.effort is not None and self.effort not in EFFORTS:
            raise nearest(str(self.effort), "effort", EFFORTS)
        usable = type(self.max_output_tokens) is int and self.max_output_tokens > 0
        require(usable, "max_output_tokens", self.max_output_tokens, "a whole number from 1")
