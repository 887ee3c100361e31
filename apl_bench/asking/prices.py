"""What a call costs: a dated table of list prices, and token counts as providers name them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Self

from apl_bench.types import JSON, Reply, SpecError

MILLION = 1_000_000
# OpenAI counts cached tokens within prompt_tokens, Anthropic beside input_tokens: all are priced as plain input here.
_HOSTS = {"openai": "api.openai.com", "anthropic": "api.anthropic.com"}
_INPUT = ("prompt_tokens", "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a call."""

    input_tokens: int
    output_tokens: int

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Self:
        """From the counts of a reply, by the names of either provider."""
        return cls(sum(counts.get(name, 0) for name in _INPUT), sum(counts.get(name, 0) for name in _OUTPUT))

    @property
    def total(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars a million tokens, the share of that which a batch API asks, and where and when this was looked up."""

    input_usd: float
    output_usd: float
    batch_share: float
    source: str

    def cost_usd(self, usage: Usage) -> float:
        """What this many tokens cost."""
        return (usage.input_tokens * self.input_usd + usage.output_tokens * self.output_usd) / MILLION

    def in_batches(self) -> Self:
        """The price through the batch API."""
        share = self.batch_share
        return replace(self, input_usd=self.input_usd * share, output_usd=self.output_usd * share, batch_share=1.0)


def usage_of(reply: Reply) -> Mapping[str, int]:
    """The counts of a reply; none where they are no counts, as a backend that breaks its contract may give them."""
    usage = reply.usage if isinstance(reply, Reply) else None
    counted = isinstance(usage, Mapping) and all(type(count) is int and count >= 0 for count in usage.values())
    return usage if usage is not None and counted else {}


def price_of(request: Mapping[str, JSON]) -> Price | None:
    """The list price of exactly this model at this address; None where the table does not have it, which is not 0.

    A server of one's own may serve a model of any name, so a list price holds at the provider's own address alone.
    """
    listed = _table().get((str(request.get("provider")), str(request.get("model"))))
    return listed if is_providers_own(request) else None


def is_providers_own(request: Mapping[str, JSON]) -> bool:
    """Whether the request goes to the provider itself, and not to a server that speaks its language."""
    return str(request.get("endpoint")).partition("/")[0] == _HOSTS.get(str(request.get("provider")))


def table_of(provider: str) -> str | None:
    """Source and date of the provider's part of the table; None where it has no such provider."""
    return next((price.source for (name, _), price in _table().items() if name == provider), None)


@cache
def _table() -> dict[tuple[str, str], Price]:
    text = (Path(__file__).parent / "prices.toml").read_text(encoding="utf-8")
    return {
        (provider, model): Price(numbers[0], numbers[1], table["batch_share"], f"{table['source']}, {table['date']}")
        for provider, table in tomllib.loads(text).items()
        for model, numbers in table["models"].items()
    }


def parse_price(text: str) -> Price:
    """`INPUT:OUTPUT`, dollars a million tokens. Raises SpecError."""
    first, colon, second = text.partition(":")
    try:
        price = Price(float(first), float(second), 1.0, "--price")
    except ValueError:
        colon = ""
    if not colon or not (0 <= price.input_usd < float("inf") and 0 <= price.output_usd < float("inf")):
        raise SpecError(
            f"--price {text!r} is not of the form INPUT:OUTPUT; expected dollars a million tokens, such as 2.5:10"
        )
    return price
