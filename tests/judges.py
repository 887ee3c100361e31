"""Oracles that go by the length of a text, pairs for them, and how they are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.protocols import Oracle
from apl_bench.types import JSON, Comparison, Completion, Pair, Prompt, Reading, Reply, Verdict
from apl_bench.wrapping import Wrapped

LETTERS = {"A": Verdict.FIRST, "B": Verdict.SECOND, "C": Verdict.TIE}


class Longest(Oracle):
    """Prefers the longer text, answers in letters, and remembers every page it was shown."""

    summary = "the longer text"
    local = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        prompt, shown = comparison.pair.prompt.text, list(comparison.shown)
        return {"model": "longest", "prompt": prompt, "texts": shown, "repeat": comparison.repeat}

    def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
        self.asked += [comparison.shown for comparison in comparisons]
        return [Reply(self.answer(*comparison.shown), "longest") for comparison in comparisons]

    def answer(self, first: str, second: str) -> str:
        return "C" if len(first) == len(second) else "A" if len(first) > len(second) else "B"

    def read(self, reply: Reply) -> Reading:
        return Reading(LETTERS.get(reply.raw, Verdict.INVALID), {"A": 0.75, "B": 0.25}.get(reply.raw))


class Unreadable(Longest):
    """Answers nothing to read."""

    def answer(self, first: str, second: str) -> str:
        return ""


class ProviderDownError(Exception):
    pass


class Flaky(Longest):
    """Goes down once, after it has answered `healthy` times."""

    def __init__(self, healthy: int) -> None:
        super().__init__()
        self.healthy = healthy

    def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
        if self.healthy == 0:
            self.healthy = -1
            raise ProviderDownError
        self.healthy -= 1
        return super().ask(comparisons)


def completion(text: str) -> Completion:
    return Completion(text, (), finished=True)


def pair(first: str, second: str, prompt: str = "The film") -> Pair:
    return Pair(Prompt("p", prompt), completion(first), completion(second))


def pairs(num: int) -> list[Pair]:
    """Pairs of different texts, the first one longer in every other pair."""
    return [pair(f"{i:04d}{'long' * (i % 2)}", f"{i:04d}{'longer' * ((i + 1) % 2)}") for i in range(num)]


def record(oracle: Oracle | Wrapped, ledger: Ledger, order: str = "random") -> Judging:
    return Judging(oracle, ledger, Manner(Mode.RECORD, order))


def replay(oracle: Oracle | Wrapped, ledger: Ledger, order: str = "random") -> Judging:
    return Judging(oracle, ledger, Manner(Mode.REPLAY, order))
