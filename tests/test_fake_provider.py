"""The fake provider itself: what it counts, how it limits, and that it runs in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter

import pytest

from apl_bench.failures import CallError, Remedy
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.types import Comparison, Completion, Pair, Prompt, Reply, Verdict
from tests.fake_answers import candidates, merit
from tests.fake_provider import Call, FakeProvider

pytestmark = pytest.mark.usefixtures("loopback")

TEMPLATES = ("paper-sentiment-v1", "paper-summary-v1", "sentiment-v2", "summary-v2")


def comparison(number: int) -> Comparison:
    completions = (Completion(f" was good {number}", (), True), Completion(" was bad", (), True))
    return Comparison(Pair(Prompt("p", "The film"), *completions), swapped=bool(number % 2))


async def ask_all(url: str, num: int, template: str = TEMPLATES[0]) -> list[Reply | BaseException]:
    asked = OpenAIChat("m", template, base_url=url)
    try:
        return await asyncio.gather(*(asked.call(comparison(i)) for i in range(num)), return_exceptions=True)
    finally:
        await asked.close()


def test_too_many_at_once_are_told_to_slow_down() -> None:
    with FakeProvider(latency_s=1.0, max_concurrent=4, retry_after_s=0.125) as server:
        answers = asyncio.run(ask_all(server.base_url, 12))
        refused = [answer for answer in answers if isinstance(answer, CallError)]
        assert {(error.remedy, error.retry_after_s) for error in refused} == {(Remedy.SLOW_DOWN, 0.125)}
        assert len(refused) == 12 - sum(server.answered().values()) > 0
        assert sum(server.counts().values()) == 12


def test_faults_follow_a_function_of_the_call() -> None:
    seen: Counter[str] = Counter()

    def first_time(call: Call) -> str | None:
        seen[call.comparison] += 1
        return "500" if seen[call.comparison] == 1 else None

    with FakeProvider(faults=first_time) as server:
        for expected in (CallError, Reply):
            assert {type(answer) for answer in asyncio.run(ask_all(server.base_url, 5))} == {expected}
        assert (len(server.counts()), set(server.counts().values()), set(server.answered().values())) == (5, {2}, {1})


@pytest.mark.parametrize("template", TEMPLATES)
def test_it_prefers_the_same_text_in_either_place_and_in_every_template(template: str) -> None:
    with FakeProvider() as server:
        answers = asyncio.run(ask_all(server.base_url, 4, template))
        question = server.calls[0].body["messages"][-1]["content"]
    asked = OpenAIChat("m", template, base_url="http://127.0.0.1:1/v1")
    verdicts = [asked.read(answer).verdict for answer in answers if isinstance(answer, Reply)]
    assert [verdict.unswap(bool(i % 2)) for i, verdict in enumerate(verdicts)] == [Verdict.FIRST] * 4
    assert sorted(candidates(question), key=merit)[0].endswith("was bad")


def test_it_runs_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "tests.fake_provider", "--latency", "0.01", "--fault", "none", "--fault", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            answers = asyncio.run(ask_all(process.stdout.readline().strip(), 3))
        finally:
            process.terminate()
    assert sorted(type(answer).__name__ for answer in answers) == ["CallError", "Reply", "Reply"]
