"""A command that asks in batches, from its start to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from apl_bench.asking.asking import Asking, Terms
from apl_bench.asking.batches import Waiting
from apl_bench.asking.budget import Caps, Spent
from apl_bench.asking.dispatch import Patience
from apl_bench.asking.prices import Price
from apl_bench.failures import OracleError
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.oracles.anthropic_messages import AnthropicMessages
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.protocols import BatchOracle
from tests.asking.one_command import QUICK, pairs
from tests.fake_provider import FakeProvider

NUM = 5
WHOLE = ["FIRST", "SECOND", "FIRST", "SECOND", "FIRST"]
PRICE = Price(1.0, 10.0, 0.5, "test")


def openai(server: FakeProvider) -> BatchOracle:
    return OpenAIChat("m", "sentiment-v2", base_url=server.base_url, max_output_tokens=64)


def anthropic(server: FakeProvider) -> BatchOracle:
    return AnthropicMessages("m", "sentiment-v2", base_url=server.root_url, max_output_tokens=64)


@dataclass
class Command:
    """One command from its start to its end: verdicts or the error, what it told, what it counted."""

    oracle: BatchOracle
    folder: Path
    caps: Caps = field(default_factory=Caps)
    waiting: Waiting = QUICK
    deadline_s: float = 30.0
    batch: bool = True
    told: list[str] = field(default_factory=list)
    spent: Spent = field(default_factory=Spent)
    collected: Spent = field(default_factory=Spent)
    reserved: Spent = field(default_factory=Spent)

    def run(self) -> list[str]:
        terms = Terms(self.caps, price=PRICE, waiting=self.waiting, tell=self.told.append,
                      patience=Patience(deadline_s=self.deadline_s))  # fmt: skip
        with Ledger(self.folder) as ledger, Asking(terms, self.folder / "batches") as asking:
            judging = Judging(self.oracle, ledger, Manner(Mode.RECORD, "fixed", batch=self.batch), asking)
            try:
                return [judged.verdict.name for judged in judging.judge(pairs(NUM))]
            finally:
                meter = asking.meter
                self.spent, self.collected, self.reserved = meter.spent, meter.collected, meter.reserved

    def fails(self, message: str) -> None:
        with pytest.raises(OracleError, match=message):
            self.run()


def num_kept(folder: Path) -> int:
    with Ledger(folder) as ledger:
        return len(list(ledger.records()))


def notes(folder: Path) -> list[Path]:
    return list((folder / "batches").glob("*.json"))
