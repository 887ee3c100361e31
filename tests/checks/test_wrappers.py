"""The kit against wrappers broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar

import numpy as np
import pytest

from apl_bench.checks import check_wrapper
from apl_bench.protocols import Wrapper
from apl_bench.registry import WRAPPERS
from apl_bench.types import Comparison, Reading, Verdict
from tests.checks import codes

PARAMETERS: dict[str, list[dict[str, Any]]] = {
    "flip": [{"rate": 0.5}, {"rate": 1, "seed": 3}],
    "abstain": [{"rate": 0.5}],
    "position_bias": [{"rate": 0.5}, {"rate": 0}],
    "both_orders": [{}],
    "repeat": [{"num": 1}, {"num": 2}, {"num": 5}],
    "replay": [{}],
}


class Plain(Wrapper):
    """Changes nothing."""

    summary: ClassVar[str] = "changes nothing"

    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Reading:
        return readings[0]


class Nothing(Plain):
    def expand(self, comparison: Comparison) -> Sequence[Comparison]:
        return []


class Endless(Plain):
    def expand(self, comparison: Comparison) -> Any:
        return (replace(comparison, repeat=number) for number in count())


class Pairs(Plain):
    def expand(self, comparison: Comparison) -> Any:
        return [comparison.pair]


class OtherPrompt(Plain):
    def expand(self, comparison: Comparison) -> Sequence[Comparison]:
        pair = comparison.pair
        return [replace(comparison, pair=replace(pair, prompt=replace(pair.prompt, text="Be kind.")))]


class Moody(Plain):
    def expand(self, comparison: Comparison) -> Sequence[Comparison]:
        return [replace(comparison, repeat=int(np.random.default_rng().integers(1000)))]


class Word(Plain):
    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Any:
        return readings[0].verdict


class Certain(Plain):
    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Reading:
        return replace(readings[0], p_first=2.0)


class Coin(Plain):
    """Makes ties of what could not be read."""

    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Reading:
        return Reading(Verdict.TIE) if readings[0].verdict is Verdict.INVALID else readings[0]


class Random(Plain):
    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Reading:
        flips = np.random.default_rng().random() < 0.5
        return Reading(readings[0].verdict.unswap(flips))


class PairOrder(Plain):
    """Likes the pair's own first."""

    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Reading:
        if readings[0].verdict is Verdict.INVALID:
            return readings[0]
        return Reading(Verdict.SECOND if comparison.swapped else Verdict.FIRST)


class Failing(Plain):
    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Reading:
        raise KeyError("no")


BROKEN: list[tuple[str, Callable[[], Wrapper]]] = [
    ("declaration", type("Unsaid", (Plain,), {"summary": ""})),
    ("expand", Nothing),
    ("expand", Endless),
    ("expand", Pairs),
    ("expand-pair", OtherPrompt),
    ("expand-stable", Moody),
    ("combine", Word),
    ("p-first", Certain),
    ("invalid", Coin),
    ("combine-stable", Random),
    ("exchange", PairOrder),
    ("raises", Failing),
]


@pytest.mark.parametrize(("code", "make"), BROKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_a_broken_wrapper_is_told_what_is_wrong(code: str, make: Callable[[], Wrapper]) -> None:
    found = codes(check_wrapper(make))
    assert code in found
    assert found == [code] or make is Random  # what is random may break any law


def test_a_wrapper_that_conforms() -> None:
    assert check_wrapper(Plain) == []
    assert check_wrapper(Plain()) == []


def test_every_shipped_wrapper_is_tried() -> None:
    assert sorted(PARAMETERS) == WRAPPERS.names()


@pytest.mark.parametrize(("name", "params"), [(name, params) for name in PARAMETERS for params in PARAMETERS[name]])
def test_the_shipped_wrappers_conform(name: str, params: dict[str, Any]) -> None:
    assert check_wrapper(lambda: WRAPPERS.create(name, params)) == []
