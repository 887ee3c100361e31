"""Batches: sent once whatever happens, collected by a later command, kept before the note goes away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, cast

import pytest

from apl_bench.asking.asking import Asking, Terms
from apl_bench.asking.batches import Waiting
from apl_bench.asking.budget import CapReachedError, Caps
from apl_bench.asking.prices import Price
from apl_bench.asking.questions import Question
from apl_bench.failures import AwaitingLabels, CallError, OracleError, Remedy
from apl_bench.judgments.keys import request_key
from apl_bench.judgments.record import Record
from apl_bench.protocols import BatchOracle
from apl_bench.types import BatchState, Comparison, Reply, SpecError
from tests.asking.provider import USAGE, Scripted, comparisons

PRICE = Price(1.0, 10.0, 0.5, "test")
NOW = Waiting(first_look_s=0.001, last_look_s=0.002)
LATER = Waiting(first_look_s=0.001, patience_s=0.0)


class Killed(BaseException):
    """What a SIGKILL looks like from inside."""


class Provider:
    """The far side: it outlives the processes that send to it."""

    def __init__(self) -> None:
        self.batches: dict[str, tuple[str, list[Comparison]]] = {}
        self.num_looks = 0
        self.ready_after = 2
        self.failing: set[str] = set()  # first texts whose requests fail, once


class Batching(Scripted, BatchOracle):
    """Scripted, with a batch API; `killed` names the method during which the process dies."""

    summary: ClassVar[str] = "the longer text, tomorrow"
    max_batch: ClassVar[int] = 6

    def __init__(self, provider: Provider, killed: str = "") -> None:
        super().__init__()
        self.provider = provider
        self.killed = killed

    async def submit(self, comparisons: Sequence[Comparison], token: str) -> str:
        if self.killed == "before":
            raise Killed
        batch_id = f"batch-{len(self.provider.batches)}"
        self.provider.batches[batch_id] = (token, list(comparisons))
        if self.killed == "after":
            raise Killed
        if self.killed == "timeout":
            self.killed = ""
            raise CallError("no reply within 1 s", Remedy.RETRY, retry_after_s=0.0)
        return batch_id

    async def find(self, token: str) -> str | None:
        return next((name for name, (sent, _) in self.provider.batches.items() if sent == token), None)

    async def collect(self, batch_id: str) -> BatchState:
        self.provider.num_looks += 1
        if self.provider.num_looks < self.provider.ready_after:
            return BatchState(num_done=0, ended=False)
        replies, failures = {}, {}
        for place, comparison in enumerate(self.provider.batches[batch_id][1]):
            first, second = comparison.shown
            if first in self.provider.failing:
                self.provider.failing.remove(first)
                failures[place] = "expired"
            else:
                replies[place] = Reply("A" if len(first) > len(second) else "B", "longer", usage=USAGE)
        return BatchState(len(replies), ended=True, replies=replies, failures=failures)

    @property
    def num_sent(self) -> int:
        return sum(len(sent) for _, sent in self.provider.batches.values())


def questions(oracle: Scripted, num: int) -> list[Question]:
    requests = [(comparison, oracle.request(comparison)) for comparison in comparisons(num)]
    return [Question(comparison, request, request_key(request)) for comparison, request in requests]


def collect(oracle: Batching, folder: Path, num: int, waiting: Waiting = NOW, caps: Caps | None = None) -> list[Record]:
    """What one command gets, from its start to its end."""
    terms = Terms(caps or Caps(), price=PRICE, waiting=waiting)
    with Asking(terms, folder) as asking:
        groups = asking.records(oracle, questions(oracle, num), batch=True)
        return [record for group in groups for record in group]


def check(records: Sequence[Record], num: int) -> None:
    """A right reply to each, once."""
    texts = {tuple(cast("list[str]", record.request["texts"])): record.reply.raw for record in records}
    assert len(texts) == len(records) == num
    assert all(raw == ("A" if len(first) > len(second) else "B") for (_, first, second), raw in texts.items())


def test_batches_are_cut_to_size_waited_for_and_settled_at_the_batch_price(tmp_path: Path) -> None:
    oracle = Batching(Provider())
    with Asking(Terms(price=PRICE, waiting=NOW), tmp_path) as asking:
        records = [r for group in asking.records(oracle, questions(oracle, 15), batch=True) for r in group]
        assert asking.meter.spent.calls == 15
        assert asking.meter.spent.cost_usd == pytest.approx(15 * 0.5 * (80 + 100) / 1e6)
    check(records, 15)
    assert [len(sent) for _, sent in oracle.provider.batches.values()] == [6, 6, 3]
    assert list(tmp_path.glob("*.json")) == [], "no note is left of what was collected"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_while_sending_pays_for_nothing_twice(tmp_path: Path, moment: str) -> None:
    provider = Provider()
    with pytest.raises(Killed):
        collect(Batching(provider, killed=moment), tmp_path, 5)
    assert len(list(tmp_path.glob("*.json"))) == 1
    oracle = Batching(provider)
    check(collect(oracle, tmp_path, 5), 5)
    assert oracle.num_sent == 5


def test_a_batch_that_arrived_although_its_sending_failed_is_not_sent_again(tmp_path: Path) -> None:
    oracle = Batching(Provider(), killed="timeout")
    check(collect(oracle, tmp_path, 5), 5)
    assert oracle.num_sent == 5


def test_a_command_that_does_not_wait_says_so_and_the_next_one_collects(tmp_path: Path) -> None:
    provider = Provider()
    with pytest.raises(AwaitingLabels, match=r"awaiting 5 labels\. Batch batch-0 of scripted has 0 of 5 done"):
        collect(Batching(provider), tmp_path, 5, LATER)
    oracle = Batching(provider)
    check(collect(oracle, tmp_path, 5), 5)
    assert oracle.num_sent == 5


def test_the_note_goes_only_after_its_replies_were_taken(tmp_path: Path) -> None:
    oracle = Batching(Provider())
    with Asking(Terms(price=PRICE, waiting=NOW), tmp_path) as asking:
        groups = asking.records(oracle, questions(oracle, 5), batch=True)
        next(groups)
        assert len(list(tmp_path.glob("*.json"))) == 1, "a kill now must find it again"


def test_what_failed_inside_a_batch_is_sent_again_and_the_rest_is_not(tmp_path: Path) -> None:
    oracle = Batching(Provider())
    oracle.provider.failing = {"0002"}
    check(collect(oracle, tmp_path, 5), 5)
    assert oracle.num_sent == 6


def test_what_fails_in_every_batch_is_told_with_its_reason(tmp_path: Path) -> None:
    class Refusing(Batching):
        async def collect(self, batch_id: str) -> BatchState:
            return BatchState(0, ended=True, failures={0: "server_error"})

    with pytest.raises(OracleError, match=r"^1 comparisons came back unprocessed .* from 2 batches.*: server_error"):
        collect(Refusing(Provider()), tmp_path, 1)


def test_a_batch_above_a_cap_is_not_sent(tmp_path: Path) -> None:
    oracle = Batching(Provider())
    with pytest.raises(CapReachedError):
        collect(oracle, tmp_path, 5, caps=Caps(calls=4))
    assert oracle.num_sent == 0


def test_an_oracle_without_a_batch_api_and_a_broken_note_are_refused(tmp_path: Path) -> None:
    with Asking(Terms(), tmp_path) as asking, pytest.raises(SpecError, match="Scripted has no batch API"):
        list(asking.records(Scripted(), questions(Scripted(), 1), batch=True))
    (tmp_path / "x.json").write_text(json.dumps({"token": "x"}))
    with pytest.raises(SpecError, match=r"x\.json is not a note of a batch"):
        collect(Batching(Provider()), tmp_path, 1)
