"""Batches that fail: what was not paid for is asked anew, once in a command; what may have been paid for never is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic as _anthropic_sdk  # noqa: F401 - beforehand: a first import takes as long as a deadline here
import openai as _openai_sdk  # noqa: F401
import pytest
from click.testing import CliRunner, Result

from apl_bench.asking.asking import Asking, Terms
from apl_bench.asking.batches import Waiting
from apl_bench.asking.budget import Caps, Spent
from apl_bench.asking.prices import Usage
from apl_bench.cli.main import main
from apl_bench.failures import AwaitingLabels, CallError, Remedy
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.protocols import BatchOracle
from tests.asking.commands import NUM, WHOLE, Command, notes, num_kept, openai
from tests.asking.one_command import QUICK, pairs
from tests.fake_batches import BatchPlan
from tests.fake_provider import FakeProvider

pytestmark = pytest.mark.usefixtures("loopback", "quickly")


def test_requests_that_expired_are_sent_once_more_and_the_rest_is_kept(
    tmp_path: Path, server: FakeProvider, oracle: BatchOracle
) -> None:
    server.batches.next_plans = [BatchPlan(end="expired", faults={1: "expired", 4: "expired"})]
    command = Command(oracle, tmp_path, Caps(calls=NUM))
    assert command.run() == WHOLE
    assert server.batches.num_requests == [5, 2]
    assert len(command.told) == 1
    assert "2 comparisons came back unprocessed and unpaid" in command.told[0]
    assert "sent once more, in a new batch" in command.told[0]
    assert command.spent.calls == NUM, "what was not processed is no call"
    assert notes(tmp_path) == []


@pytest.mark.parametrize("end", ["given-up", "lapsed"])
def test_a_batch_that_failed_as_a_whole_without_a_reason_is_sent_once_more(
    tmp_path: Path, server: FakeProvider, end: str
) -> None:
    server.batches.next_plans = [BatchPlan(end=end)]
    command = Command(openai(server), tmp_path, Caps(calls=NUM))
    assert command.run() == WHOLE
    assert server.batches.num_requests == [5, 5]
    assert "gave up the batch" in command.told[0]


def test_what_fails_twice_ends_the_command_and_the_next_one_starts_anew(
    tmp_path: Path, server: FakeProvider, oracle: BatchOracle
) -> None:
    expired = dict.fromkeys(range(1, NUM), "expired")
    server.batches.next_plans = [BatchPlan(end="cancelled", faults=expired),
                                 BatchPlan(end="expired", faults=dict.fromkeys(range(4), "expired"))]  # fmt: skip
    command = Command(oracle, tmp_path)
    command.fails(r"^4 comparisons came back unprocessed and unpaid from 2 batches.*the same command sends the rest")
    assert server.batches.num_requests == [5, 4]
    assert (num_kept(tmp_path), notes(tmp_path)) == (1, [])
    assert (command.spent.calls, command.reserved.calls) == (1, 0)
    assert Command(oracle, tmp_path).run() == WHOLE
    assert server.batches.num_requests == [5, 4, 4]


def test_a_batch_that_is_malformed_is_not_sent_again_by_the_command(tmp_path: Path, server: FakeProvider) -> None:
    server.batches.plan = BatchPlan(end="failed")
    command = Command(openai(server), tmp_path)
    command.fails(r"refused the batch \w+ as a whole \('failed'\): Line 3 is no JSON\. .*nothing was paid for")
    assert server.batches.num_requests == [5]
    assert (command.told, notes(tmp_path), command.spent.calls, command.reserved.calls) == ([], [], 0, 0)
    server.batches.plan = BatchPlan()
    assert Command(openai(server), tmp_path).run() == WHOLE


def test_a_request_that_is_malformed_is_not_sent_again_by_the_command(
    tmp_path: Path, server: FakeProvider, oracle: BatchOracle
) -> None:
    server.batches.next_plans = [BatchPlan(faults={2: "malformed"})]
    Command(oracle, tmp_path).fails(r"1 of 5 requests of batch \w+ of \w+ were refused, and not paid for; .*It went wr")
    assert (server.batches.num_requests, num_kept(tmp_path), notes(tmp_path)) == ([5], 4, [])
    assert Command(oracle, tmp_path).run() == WHOLE
    assert server.batches.num_requests == [5, 1]


@pytest.mark.parametrize("fault", ["missing", "unreadable"])
def test_what_may_have_been_paid_for_is_not_sent_again(
    tmp_path: Path, server: FakeProvider, oracle: BatchOracle, fault: str
) -> None:
    server.batches.next_plans = [BatchPlan(faults={2: fault, 3: "expired"})]
    for num_asked in ([5], [5, 1], [5, 1]):  # the one that expired, by the second; the other by none
        command = Command(oracle, tmp_path)
        command.fails(
            r"1 of 5 requests of batch \w+ of \w+ have no answer that can be used, and may have been paid for"
        )
        assert server.batches.num_requests == num_asked
        assert len(notes(tmp_path)) == 1
    assert num_kept(tmp_path) == 4
    assert Command(oracle, tmp_path, batch=False).run() == WHOLE, "the user's way out"
    assert Command(oracle, tmp_path).run() == WHOLE


def test_an_answer_that_comes_later_after_all_is_taken(tmp_path: Path, server: FakeProvider) -> None:
    server.batches.plan = BatchPlan(faults={2: "missing"})
    Command(openai(server), tmp_path).fails("may have been paid for")
    server.batches.plan = BatchPlan()
    assert Command(openai(server), tmp_path).run() == WHOLE
    assert (server.batches.num_requests, notes(tmp_path)) == ([5], [])


# Counting


def test_a_batch_that_an_earlier_command_sent_counts_against_no_cap_of_this_one(
    tmp_path: Path, server: FakeProvider, oracle: BatchOracle
) -> None:
    server.batches.plan = BatchPlan(num_polls=2)
    first = Command(oracle, tmp_path, Caps(calls=NUM), Waiting(first_look_s=0.001, patience_s=0.0))
    with pytest.raises(AwaitingLabels):
        first.run()
    assert (first.spent.calls, first.reserved.calls, first.collected.calls) == (0, NUM, 0)
    second = Command(oracle, tmp_path, Caps(calls=0, tokens=0, cost_usd=0.0))
    assert second.run() == WHOLE
    assert (second.spent, second.reserved.calls, second.collected.calls) == (Spent(), 0, NUM)
    tokens = second.collected.tokens
    assert tokens > 0
    assert second.collected.cost_usd == pytest.approx(_at_half_price(tmp_path))


def _at_half_price(folder: Path) -> float:
    with Ledger(folder) as ledger:
        usages = [record.reply.usage for record in ledger.records()]
    counts = [Usage.of(usage) for usage in usages]
    return 0.5 * sum(count.input_tokens * 1.0 + count.output_tokens * 10.0 for count in counts) / 1e6


def test_what_another_command_got_answered_meanwhile_is_not_sent(tmp_path: Path, server: FakeProvider) -> None:
    class Late(Ledger):
        """Between the first look of one command and its sending, another one does all the work."""

        looked = False

        def get_many(self, keys: Any, generation: int = 0) -> Any:
            found = super().get_many(keys, generation)
            if not self.looked:
                self.looked = True
                assert Command(openai(server), tmp_path).run() == WHOLE
            return found

    with Late(tmp_path) as ledger, Asking(Terms(waiting=QUICK), tmp_path / "batches") as asking:
        judged = Judging(openai(server), ledger, Manner(Mode.RECORD, "fixed", batch=True), asking).judge(pairs(NUM))
    assert [one.verdict.name for one in judged] == WHOLE
    assert server.batches.num_requests == [NUM]


def test_a_batch_that_was_refused_when_it_was_sent_leaves_no_note(tmp_path: Path, server: FakeProvider) -> None:
    class Refused(OpenAIChat):
        async def submit(self, comparisons: Any, token: str) -> str:
            raise CallError("a bad key", Remedy.STOP, answered=True)

    refused = Refused("m", "sentiment-v2", base_url=server.base_url, max_output_tokens=64)
    command = Command(refused, tmp_path)
    command.fails(r"^a batch of 5 could not be sent to openai: a bad key$")
    assert (notes(tmp_path), command.reserved.calls) == ([], 0)


# What the user sees


def test_the_command_says_what_is_out_what_it_collected_and_what_was_sent_once_more(
    tmp_path: Path, server: FakeProvider
) -> None:
    rows = [{"prompt": "The film", "first": f" {i} was good", "second": f" {i} was bad"} for i in range(NUM)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = f'openai(m, template=sentiment-v2, base_url="{server.base_url}", max_output_tokens=64)'
    options = ["--judge", judge, "--repeats", "1", "--order", "fixed", "--batch", "judge", "--no-wait"]

    def run(*more: str) -> Result:
        folder = ["--ledger", str(tmp_path / "ledger")]
        return CliRunner().invoke(main, ["judge-report", str(tmp_path / "pairs.jsonl"), *options, *folder, *more])

    server.batches.next_plans = [BatchPlan(num_polls=2, end="expired", faults={0: "expired"})]
    server.batches.plan = BatchPlan(num_polls=2)
    first = run()
    assert first.exit_code == 3, first.output
    assert "in batches that are out: 5 calls, " in first.output
    assert "spent:" not in first.output
    second = run("--max-calls", "1")
    assert second.exit_code == 3, second.output
    assert "batch: 1 comparisons came back unprocessed and unpaid" in second.output
    assert "collected: 4 calls, " in second.output
    assert "in batches that are out: 1 calls, " in second.output
    third = run("--max-calls", "0")
    assert third.exit_code == 0, third.output
    assert "collected: 1 calls, " in third.output
    server.batches.plan = BatchPlan(end="failed")
    refused = run("--task", "imdb", "--ledger", str(tmp_path / "other"))
    assert refused.exit_code == 1, refused.output
    assert "as a whole ('failed'): Line 3 is no JSON" in refused.output
    assert "Traceback" not in refused.output
