"""The OpenAI backend: batches, whole and in part."""

from __future__ import annotations

import pytest

from apl_bench.failures import CallError, Remedy
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.types import SpecError, Verdict
from tests.fake_batches import BatchPlan
from tests.fake_provider import FakeProvider
from tests.oracles.hosted import ask, comparison, comparisons, refused_batch, run
from tests.oracles.hosted import openai as oracle

pytestmark = pytest.mark.usefixtures("loopback", "openai_key")


def test_a_batch_goes_up_is_found_again_and_comes_back_in_order() -> None:
    async def work(asked: OpenAIChat) -> str:
        batch = await asked.submit(comparisons(5), "run-1")
        for other in range(4):
            await asked.submit(comparisons(1), f"other-{other}")
        assert await asked.find("run-1") == batch
        assert await asked.find("run-2") is None
        waiting = await asked.collect(batch)
        assert (waiting.ended, dict(waiting.replies)) == (False, {})
        ended = await asked.collect(batch)
        assert (ended.ended, ended.num_done, dict(ended.failures)) == (True, 5, {})
        verdicts = [asked.read(ended.replies[place]).verdict for place in range(5)]
        singly = [asked.read(await asked.call(each)).verdict for each in comparisons(5)]
        assert verdicts == singly
        assert set(verdicts) == {Verdict.FIRST, Verdict.SECOND}
        return batch

    with FakeProvider(batch_plan=BatchPlan(num_polls=2)) as server:
        run(oracle(server), work)
        assert server.batches.num_batches == 5


def test_a_batch_and_a_call_send_the_same_body() -> None:
    asked = OpenAIChat("m", "sentiment-v2", base_url="http://127.0.0.1:1/v1", temperature=0.5, extra_body={"top_k": 1})
    with FakeProvider() as server:
        real = oracle(server, template="sentiment-v2", model="m", temperature=0.5, extra_body={"top_k": 1})
        ask(real)
        assert server.calls[0].body == asked.body(comparison())


def test_part_of_an_expired_batch_counts_and_each_failure_has_its_reason() -> None:
    plan = BatchPlan(1, "expired", {1: "errored", 2: "filtered", 3: "expired", 4: "missing"})

    async def work(asked: OpenAIChat) -> None:
        state = await asked.collect(await asked.submit(comparisons(6), "t"))
        assert state.ended
        assert sorted(state.replies) == [0, 2, 5]
        assert state.replies[2].outcome == "filtered"
        assert sorted(state.failures) == [1, 3, 4]
        assert "answered 500: It went wrong" in state.failures[1]
        assert "expired" in state.failures[3]
        assert state.failures[4] == "the batch ended as 'expired' without an answer"

    with FakeProvider(batch_plan=plan) as server:
        run(oracle(server), work)


@pytest.mark.parametrize(("plan", "message"), [
    (BatchPlan(faults={1: "duplicated"}), "two answers to 't-1'"),
    (BatchPlan(faults={1: "unknown"}), "an answer to 'somebody-else-0', which was not asked in it"),
    (BatchPlan(end="failed"), "refused the batch .* as a whole .*Line 3 is no JSON"),
])  # fmt: skip
def test_a_batch_whose_answers_cannot_be_told_apart_is_refused(plan: BatchPlan, message: str) -> None:
    with FakeProvider(batch_plan=plan) as server:
        assert refused_batch(oracle(server), message).remedy is Remedy.STOP


def test_a_batch_without_probabilities_that_were_asked_for_has_failures_and_no_labels() -> None:
    asked = OpenAIChat("m", "paper-sentiment-v1", top_logprobs=5)
    body = {"choices": [{"message": {"content": "Preferred: A"}, "finish_reason": "stop"}]}
    with pytest.raises(CallError, match="log-probabilities"):
        asked._wire.reply_of(body, True)


def test_a_token_that_cannot_name_requests_is_refused() -> None:
    with FakeProvider() as server, pytest.raises(SpecError, match="the token of a batch is 'a b'"):
        run(oracle(server), lambda asked: asked.submit(comparisons(1), "a b"))
