"""Opinions made by hand."""

from __future__ import annotations

from collections.abc import Sequence

from apl_bench.annotation.agreement import Measure
from apl_bench.health.measures import Answer, Found, Opinion
from apl_bench.types import Completion, Pair, Prompt, Reading, Verdict

FIRST, SECOND, TIE, INVALID = Verdict.FIRST, Verdict.SECOND, Verdict.TIE, Verdict.INVALID


def pair(first: str = "one", second: str = "another", prompt: str = "The film was") -> Pair:
    sides = (Completion(text, (), finished=True) for text in (first, second))
    return Pair(Prompt(prompt, prompt), *sides)


def answer(verdict: Verdict, swapped: bool = False, repeat: int = 0, p_first: float | None = None) -> Answer:
    return Answer(swapped, repeat, Reading(verdict, p_first))


def opinion(item: Pair, *answers: Answer, verdict: Verdict | None = None) -> Opinion:
    """An opinion with the first answer's verdict, unless another is given."""
    return Opinion(item, answers[0].swapped, answers[0].meant if verdict is None else verdict, answers)


def opinions(shown: Sequence[Verdict]) -> list[Opinion]:
    """One on each of as many prompts, shown unswapped and swapped in turn."""
    return [opinion(pair(prompt=f"Film {i} was"), answer(verdict, i % 2 == 1)) for i, verdict in enumerate(shown)]


def of(found: Found) -> Measure:
    assert isinstance(found, Measure), found
    return found
