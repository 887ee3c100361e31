"""The Anthropic backend: batches, whole and in part."""

from __future__ import annotations

import pytest

from apl_bench.failures import CallError, Remedy
from apl_bench.oracles.anthropic_messages import AnthropicMessages
from apl_bench.types import Verdict
from tests.fake_batches import BatchPlan
from tests.fake_provider import FakeProvider
from tests.oracles.hosted import anthropic as oracle
from tests.oracles.hosted import comparisons, refused_batch, run

pytestmark = pytest.mark.usefixtures("loopback", "anthropic_key")


def test_a_batch_goes_up_and_comes_back_in_order() -> None:
    async def work(asked: AnthropicMessages) -> None:
        batch = await asked.submit(comparisons(5), "run-1")
        waiting = await asked.collect(batch)
        assert (waiting.ended, dict(waiting.replies)) == (False, {})
        ended = await asked.collect(batch)
        assert (ended.ended, ended.num_done, dict(ended.failures)) == (True, 5, {})
        verdicts = [asked.read(ended.replies[place]).verdict for place in range(5)]
        assert verdicts == [asked.read(await asked.call(each)).verdict for each in comparisons(5)]
        assert set(verdicts) == {Verdict.FIRST, Verdict.SECOND}

    with FakeProvider(batch_plan=BatchPlan(num_polls=2)) as server:
        run(oracle(server), work)


def test_a_batch_is_known_by_the_names_of_its_requests_once_it_has_ended() -> None:
    async def work(asked: AnthropicMessages) -> None:
        batches = [await asked.submit(comparisons(2), f"run-{number}") for number in range(5)]
        with pytest.raises(
            CallError, match=r"does not show what is in a batch before it has ended: .*msgbatch_1 of"
        ) as caught:
            await asked.find("run-1")
        assert caught.value.remedy is Remedy.STOP
        for batch in batches:
            await asked.collect(batch)
        assert [await asked.find(f"run-{number}") for number in range(5)] == batches
        assert await asked.find("run-9") is None

    with FakeProvider() as server:
        run(oracle(server), work)


def test_each_failure_has_its_reason() -> None:
    plan = BatchPlan(faults={1: "errored", 2: "expired", 3: "missing"})

    async def work(asked: AnthropicMessages) -> None:
        state = await asked.collect(await asked.submit(comparisons(5), "t"))
        assert sorted(state.replies) == [0, 4]
        assert "answered 500: It went wrong" in state.failures[1]
        assert state.failures[2] == "the request ended as 'expired'"
        assert state.failures[3] == "the batch ended as 'ended' without an answer"

    with FakeProvider(batch_plan=plan) as server:
        run(oracle(server), work)


@pytest.mark.parametrize(("plan", "message"), [
    (BatchPlan(faults={1: "duplicated"}), "two answers to 't-1'"),
    (BatchPlan(faults={1: "unknown"}), "an answer to 'somebody-else-0', which was not asked in it"),
])  # fmt: skip
def test_a_batch_whose_answers_cannot_be_told_apart_is_refused(plan: BatchPlan, message: str) -> None:
    with FakeProvider(batch_plan=plan) as server:
        assert refused_batch(oracle(server), message).remedy is Remedy.STOP
