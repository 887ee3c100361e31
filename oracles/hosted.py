"""What the oracles that ask a provider's language model share: the question, where it goes, how a reply is read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from apl_bench import templates
from apl_bench.failures import CallError
from apl_bench.oracles.remote import Address, key_from_environment, max_input_tokens
from apl_bench.protocols import BatchOracle, Task
from apl_bench.spec import nearest, require
from apl_bench.types import JSON, Allowance, Comparison, Reading, Reply, SpecError
from apl_bench.verdicts import read_json, read_text

DEFAULT_MAX_OUTPUT_TOKENS = 2048  # a sentence and a letter take a tenth of it; a reasoning model's thoughts count too
REPLIES = ("json", "text")


@dataclass(eq=False)
class Hosted(BatchOracle):
    """One question a call to a model of `provider`, or to a server of one's own at `base_url`.

    `reply` is "json" (a schema) or "text" (the template's own format); None means "json" at the provider itself and
    "text" at a `base_url`.
    """

    provider: ClassVar[str]
    default_url: ClassVar[str]
    key_variable: ClassVar[str]

    model: str
    template: str
    reply: str | None = None
    base_url: str | None = field(default=None, repr=False)
    max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS

    def __post_init__(self) -> None:
        self._check()
        self._words = templates.load(self.template)
        self._form = self.reply or ("json" if self.base_url is None else "text")
        self._address = Address.of(self._url())

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
        return {
            "provider": self.provider,
            "endpoint": self._address.public,
            "model": self.model,
            "template": self.template,
            "reply": self._form,
            "parameters": self._parameters(comparison),
            "response_format": self._response_format(),
            "messages": self._messages(comparison),
            "repeat": comparison.repeat,
        }

    def allowance(self, comparison: Comparison) -> Allowance:
        """Bytes of the messages and the schema and what a request adds to them, and `max_output_tokens`."""
        schema = self._words.schema() if self._form == "json" else None
        return Allowance(max_input_tokens(self._words.render(comparison), schema), self.max_output_tokens)

    def read(self, reply: Reply) -> Reading:
        """The verdict in a structured reply, or on the last line of a text, by the form that was asked for."""
        return read_json(reply, self._words) if self._form == "json" else read_text(reply, self._words)

    def require_key(self) -> None:
        """Raise SpecError where the environment lacks the key that the provider wants. Nothing is sent."""
        needed_by = f"{self._address.public} ({self.model})" if self.base_url is None else None
        try:
            key_from_environment(self.key_variable, needed_by)
        except CallError as error:
            raise SpecError(str(error)) from error

    @abstractmethod
    def _parameters(self, comparison: Comparison) -> dict[str, JSON]:
        """What can change the answer beyond the model and its texts, under this oracle's own names."""

    @abstractmethod
    def _response_format(self) -> dict[str, JSON] | None:
        """The schema of a structured reply as the provider takes it; None where the reply is a text."""

    def _messages(self, comparison: Comparison) -> list[dict[str, str]]:
        words = self._words.render(comparison)
        return [{"role": "system", "content": words.system}, {"role": "user", "content": words.user}]

    def _url(self) -> str:
        return self.default_url if self.base_url is None else self.base_url

    def _check(self) -> None:
        require(isinstance(self.model, str) and bool(self.model), "model", self.model, "a model's name")
        require(isinstance(self.base_url, str | None), "base_url", self.base_url, "an address, or nothing")
        if self.reply is not None and self.reply not in REPLIES:
            raise nearest(str(self.reply), "form of reply", REPLIES)
