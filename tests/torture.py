"""A process that buys labels is killed again and again: nothing that was kept is lost, little is paid for twice.

    python -m tests.torture --kills 200

Each round starts a process that asks a provider on loopback, through the real SDK, for all of the comparisons, and
kills it (SIGKILL) at a random moment. After each kill: a reply that the provider sent and that is not in the ledger was
in flight, so there are at most as many as calls were allowed at once. At the end every comparison has its reply.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from apl_bench.asking.asking import Asking, Terms
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.types import Completion, Pair, Prompt
from tests.fake_provider import FakeProvider

STEP = 500
PRELOAD = ["apl_bench.judging", "apl_bench.asking.asking", "apl_bench.oracles.openai_chat", "openai"]


@dataclass(frozen=True)
class Report:
    """How it went: kills that fell while a process was asking, replies, and how many were paid for again."""

    num_kills: int
    num_comparisons: int
    num_recorded: int
    num_billed: int
    most_lost_in_a_kill: int

    @property
    def num_paid_twice(self) -> int:
        return self.num_billed - self.num_recorded


def pairs(numbers: range) -> list[Pair]:
    def completion(text: str) -> Completion:
        return Completion(text, (), finished=True)

    prompt = Prompt("p", "I saw this film last week. It was")
    return [Pair(prompt, completion(f" good number {i}."), completion(f" bad number {i}.")) for i in numbers]


def buy(url: str, folder: Path, num: int, at_once: int) -> None:
    """What the killed process does: all comparisons, some at a time, as a run does step by step."""
    os.environ.setdefault("OPENAI_API_KEY", "not-a-key")
    oracle = OpenAIChat(model="fake", template="paper-sentiment-v1", base_url=url, max_output_tokens=64)
    with Ledger(folder) as ledger, Asking(Terms(most_at_once=at_once)) as asking:
        judging = Judging(oracle, ledger, Manner(Mode.RECORD, "random"), asking)
        for first in range(num_recorded(folder) // STEP * STEP, num, STEP):
            judging.judge(pairs(range(first, min(first + STEP, num))))


def torture(num_kills: int, num: int, folder: Path, at_once: int = 8, seed: int = 0) -> Report:
    """Kill so many times, then let it finish. Raises AssertionError where more is lost than was in flight."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    moments, kills, billed, unrecorded, most_lost = random.Random(seed), 0, 0, 0, 0
    with FakeProvider(latency_s=0.01) as server:
        while kills < num_kills:
            worker = context.Process(target=buy, args=(server.base_url, folder, num, at_once))
            worker.start()
            while worker.is_alive() and sum(server.answered().values()) == billed:
                time.sleep(0.002)  # until its first reply: a kill before that could lose nothing
            worker.join(moments.expovariate(5.0))
            killed = worker.is_alive()
            if killed:
                os.kill(worker.pid or 0, signal.SIGKILL)
            worker.join()
            assert killed or worker.exitcode == 0, f"the process failed with exit code {worker.exitcode}"
            assert killed, "it ended before the kills did; give it more comparisons"
            time.sleep(0.05)  # for a connection that is not accepted yet
            while server.num_connections:
                time.sleep(0.002)  # replies on their way to the dead are still being counted
            kills, before, billed = kills + 1, unrecorded, sum(server.answered().values())
            unrecorded = billed - num_recorded(folder)
            most_lost = max(most_lost, unrecorded - before)
            assert unrecorded - before <= at_once, f"kill {kills} lost {unrecorded - before} replies, {at_once} at once"
        last = context.Process(target=buy, args=(server.base_url, folder, num, at_once))
        last.start()
        last.join()
        assert last.exitcode == 0
        with Ledger(folder) as ledger:
            keys = {record.key for record in ledger.records()}
        assert len(keys) == num == len(server.answered()), "every comparison has its reply"
        return Report(kills, num, num_recorded(folder), sum(server.answered().values()), most_lost)


def num_recorded(folder: Path) -> int:
    """Whole lines in the ledger's files: one a record."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--comparisons", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = torture(options.kills, options.comparisons, Path(folder) / "ledger", options.at_once)
    print(report)
    print(f"lost: 0; paid for twice: {report.num_paid_twice}, at most {report.most_lost_in_a_kill} in one kill, "
          f"{options.at_once} calls at once")  # fmt: skip


if __name__ == "__main__":
    main()
