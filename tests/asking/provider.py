"""A remote oracle in this process: what each call brings is written down beforehand, and every call is counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from apl_bench.failures import CallError, Remedy
from apl_bench.protocols import RemoteOracle
from apl_bench.types import JSON, Allowance, Comparison, Completion, Pair, Prompt, Reading, Reply, Verdict

ALLOWANCE = Allowance(input_tokens=100, output_tokens=50)
USAGE = {"prompt_tokens": 80, "completion_tokens": 10}


def comparisons(num: int) -> list[Comparison]:
    """Different comparisons; the first text is the longer one in every other of them."""
    sides = [(f"{i:04d}{'x' * (i % 2)}", f"{i:04d}{'y' * ((i + 1) % 2)}") for i in range(num)]
    texts = [[Completion(text, (), finished=True) for text in pair] for pair in sides]
    return [Comparison(Pair(Prompt("p", "The film"), first, second), swapped=False) for first, second in texts]


class Scripted(RemoteOracle):
    """Prefers the longer text. `faults[text]` are the errors that the first calls about that first text bring."""

    summary: ClassVar[str] = "the longer text, from afar"

    def __init__(self, faults: Mapping[str, Sequence[CallError]] | None = None, at_once: int | None = None) -> None:
        self.faults = {text: list(errors) for text, errors in (faults or {}).items()}
        self.at_once = at_once
        self.calls: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.num_throttled = 0
        self.during: Callable[[Comparison], None] = lambda _comparison: None

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        texts = [comparison.pair.prompt.text, *comparison.shown]
        return {"provider": "scripted", "model": "longer", "texts": texts, "repeat": comparison.repeat}

    def allowance(self, comparison: Comparison) -> Allowance:
        return ALLOWANCE

    async def call(self, comparison: Comparison) -> Reply:
        first, second = comparison.shown
        self.calls[first] += 1
        self.during(comparison)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.at_once is not None and self.in_flight > self.at_once:
                self.num_throttled += 1
                raise CallError("too many", Remedy.SLOW_DOWN, retry_after_s=0.002)
            await asyncio.sleep(0.001)
            if self.faults.get(first):
                raise self.faults[first].pop(0)
        finally:
            self.in_flight -= 1
        return Reply("A" if len(first) > len(second) else "B", "longer", usage=USAGE)

    def read(self, reply: Reply) -> Reading:
        return Reading({"A": Verdict.FIRST, "B": Verdict.SECOND}.get(reply.raw, Verdict.INVALID))
