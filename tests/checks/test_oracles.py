"""The kit against oracles broken on purpose."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from apl_bench.checks import check_oracle
from apl_bench.protocols import Oracle
from apl_bench.registry import ORACLES
from apl_bench.types import JSON, Comparison, Reading, Reply, Verdict
from tests.checks import codes
from tests.fakes import FakeOracle


class NoPosition(FakeOracle):
    """Always likes what stands first."""

    def _reply(self, comparison: Comparison) -> Reply:
        return Reply("1", model="")


class Moody(FakeOracle):
    """Finds everything alike every second time it is asked."""

    num_asked = 0

    def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
        self.num_asked += 1
        return super().ask(comparisons) if self.num_asked % 2 else [Reply("=", model="") for _ in comparisons]


class BatchDependent(FakeOracle):
    def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
        return [Reply("1" if len(comparisons) == 1 else "=", model="") for _ in comparisons]


class OneReply(FakeOracle):
    def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
        return super().ask(comparisons)[:1]


class Illegible(FakeOracle):
    def _reply(self, comparison: Comparison) -> Reply:
        return Reply("first", model="")


class Certain(FakeOracle):
    def read(self, reply: Reply) -> Reading:
        return replace(super().read(reply), p_first=1.5)


class Coin(FakeOracle):
    """An unreadable reply becomes a tie: "Where public code goes wrong", 4."""

    def read(self, reply: Reply) -> Reading:
        reading = super().read(reply)
        return Reading(Verdict.TIE) if reading.verdict is Verdict.INVALID else reading


class Strict(FakeOracle):
    def read(self, reply: Reply) -> Reading:
        return Reading({"1": Verdict.FIRST, "2": Verdict.SECOND, "=": Verdict.TIE}[reply.raw])


class RequestedAs(FakeOracle):
    """Its request changed afterwards."""

    def __init__(self, change: Callable[[dict[str, Any], Comparison], dict[str, Any]]) -> None:
        self._change = change

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        return self._change(dict(super().request(comparison)), comparison)


def in_pair_order(request: dict[str, Any], comparison: Comparison) -> dict[str, Any]:
    pair = comparison.pair
    return {**request, "texts": [pair.prompt.text, pair.first.text, pair.second.text]}


BROKEN_ORACLES: list[tuple[str, Oracle]] = [
    ("declaration", type("Unsaid", (FakeOracle,), {"summary": ""})()),
    ("declaration", type("Unsaid", (FakeOracle,), {"local": None})()),
    ("raises", RequestedAs(lambda request, _: request["no such field"])),
    ("request-json", RequestedAs(lambda request, _: {**request, "temperature": math.nan})),
    ("request-json", RequestedAs(lambda request, _: {**request, "seen": {1, 2}})),
    ("request-stable", RequestedAs(lambda request, _: {**request, "now": str(np.random.default_rng().random())})),
    ("request-texts", RequestedAs(lambda request, _: {**request, "texts": request["texts"][1:]})),
    ("request-order", RequestedAs(in_pair_order)),
    ("request-repeat", RequestedAs(lambda request, _: {**request, "repeat": 0})),
    ("read-raises", Strict()),
    ("read-garbage", Coin()),
    ("ask-count", OneReply()),
    ("ask-read", Illegible()),
    ("p-first", Certain()),
    ("determinism", Moody()),
    ("batch", BatchDependent()),
    ("swap", NoPosition()),
]


@pytest.mark.parametrize(("code", "oracle"), BROKEN_ORACLES, ids=lambda value: value if type(value) is str else "")
def test_a_broken_oracle_is_told_what_is_wrong_and_nothing_else(code: str, oracle: Oracle) -> None:
    assert codes(check_oracle(oracle)) == [code]


def test_an_oracle_that_conforms() -> None:
    assert check_oracle(FakeOracle) == []


def test_an_oracle_that_may_cost_is_never_asked() -> None:
    class Paid(FakeOracle):
        local = False

        def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
            raise AssertionError("asked")

    assert check_oracle(Paid()) == []


@pytest.mark.parametrize("name", ["classifier", "summary"])
@pytest.mark.parametrize("model", ["oracle", "judge"])
def test_the_shipped_oracles_conform(name: str, model: str) -> None:
    assert check_oracle(ORACLES.create(name, {"model": model})) == []
