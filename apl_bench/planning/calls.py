"""What one call of an oracle over a network takes: tokens, dollars, seconds, each with where the figure is from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from apl_bench.asking.prices import Price, Usage
from apl_bench.judging import ORDER_SALT, presented
from apl_bench.judgments.record import Record
from apl_bench.planning.counting import EXAMPLES, Source
from apl_bench.planning.texts import Texts
from apl_bench.protocols import RemoteOracle
from apl_bench.types import JSON, Comparison, Pair

CHARACTERS_PER_TOKEN = 4  # of English, for the tokenizers of large models
REQUEST_TOKENS = 10  # of a request beyond its texts: roles and separators
REPLY_TOKENS = 50  # a one-sentence comparison of about 40, and the verdict
MIN_RECORDED = 20
MAX_RECORDS = 50_000  # of the ledger that are gone through


@dataclass
class Recorded:
    """What the ledger says of earlier calls of the same model with the same parameters."""

    num: int = 0
    num_timed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    def add(self, record: Record) -> None:
        """Count a call, where its usage came back; and its time, where that was taken (a batch has none)."""
        usage = Usage.of(record.reply.usage)
        if not usage.total:
            return
        self.num += 1
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        if record.reply.latency_s is not None:
            self.num_timed += 1
            self.seconds += record.reply.latency_s

    @property
    def enough(self) -> bool:
        return self.num >= MIN_RECORDED

    @property
    def latency_s(self) -> float | None:
        """Mean of the calls that were timed; None for too few."""
        return self.seconds / self.num_timed if self.num_timed >= MIN_RECORDED else None


@dataclass(frozen=True, slots=True)
class CallTokens:
    """Tokens of a call: expected on average, and the most that the caps set aside for one."""

    expected_input: float
    expected_output: float
    most_input: int
    most_output: int
    basis: str


@dataclass(frozen=True, slots=True)
class Bill:
    """Tokens and dollars of all calls of a part; dollars are None where the price is unknown."""

    tokens_expected: int
    tokens_at_most: int
    usd_expected: float | None
    usd_at_most: float | None


@dataclass(frozen=True)
class Identity:
    """What all requests of an oracle have in common: calls that agree in it may share a usage and a latency."""

    fields: Mapping[str, JSON]

    @classmethod
    def of(cls, source: Source) -> Identity:
        """What is the same in requests about different texts, with different repeats."""
        oracle = source.wrapped.oracle
        first, second = (oracle.request(Comparison(pair, False, repeat)) for repeat, pair in enumerate(EXAMPLES))
        return cls(_common(first, second))

    def matches(self, request: Mapping[str, JSON]) -> bool:
        """Whether this request may be one of the oracle's."""
        return _common(self.fields, request) == self.fields


def _common(first: Mapping[str, JSON], second: Mapping[str, JSON]) -> dict[str, JSON]:
    """The fields that are the same in both, tables field by field."""
    found: dict[str, JSON] = {}
    for name, value in first.items():
        other = second.get(name)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            found[name] = _common(value, other)
        elif name in second and value == other:
            found[name] = value
    return found


def recorded_calls(records: Iterable[Record], wanted: Mapping[str, Identity]) -> dict[str, Recorded]:
    """What records say of each part's model."""
    found = {part: Recorded() for part in wanted}
    for record in records:
        for part, identity in wanted.items():
            if identity.matches(record.request):
                found[part].add(record)
    return found


def requests(source: Source, pairs: Sequence[Pair]) -> Iterator[Mapping[str, JSON]]:
    """What would be sent about these pairs, one request each."""
    for pair in pairs:
        comparison = source.wrapped.leaves(presented(pair, source.order, ORDER_SALT))[0]
        yield source.wrapped.oracle.request(comparison)


def call_tokens(source: Source, texts: Texts, recorded: Recorded) -> CallTokens:
    """Tokens of a call by recorded usage, else by counting characters; the most by the oracle's own allowance."""
    oracle = source.wrapped.oracle
    assert isinstance(oracle, RemoteOracle)
    leaves = [source.wrapped.leaves(presented(pair, source.order, ORDER_SALT))[0] for pair in texts.longest]
    allowances = [oracle.allowance(leaf) for leaf in leaves]
    most = max(each.input_tokens for each in allowances), max(each.output_tokens for each in allowances)
    if recorded.enough:
        means = recorded.input_tokens / recorded.num, recorded.output_tokens / recorded.num
        basis = f"the usage of {recorded.num} recorded calls of this model with these parameters"
        return CallTokens(*means, *most, basis)
    counts = [_num_characters(request) / CHARACTERS_PER_TOKEN for request in requests(source, texts.expected)]
    basis = (f"{CHARACTERS_PER_TOKEN} characters a token over {texts.basis}; a reply of {REPLY_TOKENS}. What a model "
             "thinks before it replies comes on top: record a seed, and a plan goes by its usage")  # fmt: skip
    return CallTokens(sum(counts) / len(counts) + REQUEST_TOKENS, min(REPLY_TOKENS, most[1]), *most, basis)


def bill(call: CallTokens, num_expected: int, num_at_most: int, price: Price | None) -> Bill:
    """What so many calls come to."""
    expected = Usage(round(call.expected_input * num_expected), round(call.expected_output * num_expected))
    most = Usage(call.most_input * num_at_most, call.most_output * num_at_most)
    dollars = [None if price is None else price.cost_usd(usage) for usage in (expected, most)]
    return Bill(expected.total, most.total, *dollars)


def seconds_for(rounds: Sequence[int], concurrency: int, latency_s: float) -> float:
    """How long the calls take, so many at once; a round begins when the one before has ended."""
    return sum(math.ceil(num / concurrency) for num in rounds) * latency_s


def num_batches(rounds: Sequence[int], max_batch: int) -> int:
    """How many batches they are sent as."""
    return sum(math.ceil(num / max_batch) for num in rounds)


def _num_characters(request: Mapping[str, JSON]) -> int:
    """Characters that a model reads: the messages and the schema where a request has them, else all its texts."""
    if "messages" not in request:
        return sum(map(len, _strings(dict(request))))
    schema = request.get("response_format")
    return sum(map(len, _strings(request["messages"]))) + (len(json.dumps(schema)) if schema else 0)


def _strings(value: JSON) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)
