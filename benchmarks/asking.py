"""Judgments a second from a provider on loopback: this package's asking, side by side with what one would write first.

The provider answers after 50 ms and refuses more calls at once than its limit; `floor` is the time which that allows.
`gather` is a semaphore of exactly the limit (which a user would have to know), an SDK call each, all kept in memory;
ours finds the limit, retries, meters, and has every reply on the disk before it sends the next.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from apl_bench.asking.asking import Asking, Terms
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.types import Comparison, Completion, Pair, Prompt

LATENCY_S = 0.05
NUM = 2000
LIMITS = (8, 16)
_ROOT = Path(__file__).parent.parent


@contextmanager
def provider(limit: int) -> Iterator[str]:
    """A provider in a process of its own; its base URL."""
    command = [sys.executable, "-m", "tests.fake_provider", "--latency", str(LATENCY_S), "--max-concurrent", str(limit)]
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def oracle(url: str) -> OpenAIChat:
    os.environ.setdefault("OPENAI_API_KEY", "not-a-key")
    return OpenAIChat(model="fake", template="paper-sentiment-v1", base_url=url, max_output_tokens=64)


def pairs(num: int) -> list[Pair]:
    def completion(text: str) -> Completion:
        return Completion(text, (), finished=True)

    prompt = Prompt("p", "I saw this film last week. It was")
    return [Pair(prompt, completion(f" good number {i}."), completion(f" bad number {i}.")) for i in range(num)]


def ours(url: str) -> float:
    """Seconds for all of them, on the disk."""
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder)) as ledger, Asking(Terms()) as asking:
        judging = Judging(oracle(url), ledger, Manner(Mode.RECORD, "random"), asking)
        started = time.perf_counter()
        judging.judge(pairs(NUM))
        return time.perf_counter() - started


def gather(url: str, limit: int) -> float:
    """Seconds for all of them with asyncio.gather behind a semaphore."""
    source = oracle(url)

    async def all_of(comparisons: Sequence[Comparison]) -> None:
        gate = asyncio.Semaphore(limit)

        async def one(comparison: Comparison) -> None:
            async with gate:
                await source.call(comparison)

        await asyncio.gather(*map(one, comparisons))
        await source.close()

    comparisons = [Comparison(pair, swapped=False) for pair in pairs(NUM)]
    started = time.perf_counter()
    asyncio.run(all_of(comparisons))
    return time.perf_counter() - started


def measure() -> str:
    """A line for each limit."""
    lines = [
        f"\n{NUM} judgments, {1000 * LATENCY_S:.0f} ms each, through the openai SDK (floor: what the limit allows)"
    ]
    for limit in LIMITS:
        with provider(limit) as url:
            floor, mine, theirs = NUM / limit * LATENCY_S, ours(url), gather(url, limit)
        lines.append(f"  {limit:3} at once: floor {floor:6.2f} s, ours {mine:6.2f} s ({mine / floor:.2f} x floor), "
                     f"gather {theirs:6.2f} s ({theirs / floor:.2f} x floor)")  # fmt: skip
    return "\n".join(lines)
