"""Each call of a batch has a deadline of its own; one that hangs is tried again, and then told."""

from __future__ import annotations

import asyncio
import selectors
from pathlib import Path
from typing import Any

import anthropic as _anthropic_sdk  # noqa: F401 - beforehand: a first import takes as long as a deadline here
import openai as _openai_sdk  # noqa: F401
import pytest

from apl_bench.asking.batches import Waiting
from apl_bench.deadline import next_call, within
from apl_bench.failures import AwaitingLabels, CallError, Remedy
from apl_bench.oracles import anthropic_batches, openai_batches
from apl_bench.protocols import BatchOracle
from tests.asking.commands import NUM, WHOLE, Command, anthropic, openai
from tests.fake_batches import BatchPlan
from tests.fake_provider import FakeProvider

pytestmark = pytest.mark.usefixtures("loopback", "quickly")


def test_a_look_that_hangs_is_tried_again(tmp_path: Path, server: FakeProvider, oracle: BatchOracle) -> None:
    server.batches.stalls_s = {"GET ": [60.0]}
    assert Command(oracle, tmp_path, deadline_s=5.0).run() == WHOLE
    assert server.batches.num_requests == [NUM]


def test_a_provider_that_hangs_is_told_and_the_next_command_collects(
    tmp_path: Path, server: FakeProvider, oracle: BatchOracle
) -> None:
    server.batches.plan = BatchPlan(num_polls=2)
    with pytest.raises(AwaitingLabels):
        Command(oracle, tmp_path, waiting=Waiting(first_look_s=0.001, patience_s=0.0)).run()
    server.batches.stalls_s = {"GET ": [60.0] * 99}
    command = Command(oracle, tmp_path, deadline_s=0.3)
    command.fails(r"^batch \w+ of \w+ was not collected: no reply within 0.3 s \(tried 3 times\)\. .*looks again")
    server.batches.stalls_s = {}
    assert Command(oracle, tmp_path).run() == WHOLE
    assert server.batches.num_requests == [NUM]


@pytest.mark.parametrize("stalled", ["POST /v1/files", "POST /v1/batches"])
def test_sending_that_hangs_is_tried_again_and_sends_one_batch(
    tmp_path: Path, server: FakeProvider, stalled: str
) -> None:
    server.batches.stalls_s = {stalled: [60.0]}
    assert Command(openai(server), tmp_path, deadline_s=5.0).run() == WHOLE
    assert server.batches.num_requests == [NUM]


class Jumping(selectors.DefaultSelector):
    """Waits for nothing: the clock stands at once where the wait would have ended."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now_s += timeout or 0.0
        return super().select(0)


class Clockwork(asyncio.SelectorEventLoop):
    """A loop in which no second passes unless somebody waits for it."""

    def __init__(self) -> None:
        self.clock = Jumping()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now_s


def test_each_call_of_an_errand_has_the_deadline_for_itself() -> None:
    async def errand(renewed: bool) -> str:
        for _ in range(4):
            if renewed:
                next_call()
            await asyncio.sleep(50.0)
        return "done"

    with asyncio.Runner(loop_factory=Clockwork) as runner:
        assert runner.run(within(120.0, errand(renewed=True))) == "done"
        with pytest.raises(CallError, match=r"^no reply within 120 s$") as caught:
            runner.run(within(120.0, errand(renewed=False)))
    assert caught.value.remedy is Remedy.RETRY


@pytest.mark.parametrize("module", [openai_batches, anthropic_batches])
def test_backends_say_each_call_of_a_batch(
    tmp_path: Path, server: FakeProvider, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    num_said = 0

    def said() -> None:
        nonlocal num_said
        num_said += 1

    monkeypatch.setattr(module, "next_call", said)
    oracle = openai(server) if module is openai_batches else anthropic(server)
    assert Command(oracle, tmp_path).run() == WHOLE
    # upload, create, look, download; with Anthropic create, look, results
    assert num_said == (4 if module is openai_batches else 3)
