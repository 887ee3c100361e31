"""Judgments a second from a provider on loopback: this package's asking, side by side with what one would write first.

The provider answers after 50 ms and refuses more calls at once than its limit; `floor` is the time which that allows.
`gather` is a semaphore of exactly the limit (which a user would have to know), an SDK call each, all kept in memory;
ours finds the limit, retries, meters, and has every reply on the disk before it sends the next.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from apl_bench.asking.asking import Asking, Terms
from apl_bench.benchmarks.plan import Plan
from apl_bench.benchmarks.provider import provider
from apl_bench.benchmarks.results import Facts
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.types import Comparison, Completion, Pair, Prompt

LATENCY_S = 0.05
NUM = 2000  # judgments
LIMITS = (8, 16)


def oracle(url: str) -> OpenAIChat:
    os.environ.setdefault("OPENAI_API_KEY", "not-a-key")
    return OpenAIChat(model="fake", template="paper-sentiment-v1", base_url=url, max_output_tokens=64)


def pairs(num: int) -> list[Pair]:
    def completion(text: str) -> Completion:
        return Completion(text, (), finished=True)

    prompt = Prompt("p", "I saw this film last week. It was")
    return [Pair(prompt, completion(f" good number {i}."), completion(f" bad number {i}.")) for i in range(num)]


def ours(url: str, num: int) -> float:
    """Seconds for all of them, on the disk."""
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder)) as ledger, Asking(Terms()) as asking:
        judging = Judging(oracle(url), ledger, Manner(Mode.RECORD, "random"), asking)
        started = time.perf_counter()
        judging.judge(pairs(num))
        return time.perf_counter() - started


def gather(url: str, num: int, limit: int) -> float:
    """Seconds for all of them with asyncio.gather behind a semaphore."""
    source = oracle(url)

    async def all_of(comparisons: Sequence[Comparison]) -> None:
        gate = asyncio.Semaphore(limit)

        async def one(comparison: Comparison) -> None:
            async with gate:
                await source.call(comparison)

        await asyncio.gather(*map(one, comparisons))
        await source.close()

    comparisons = [Comparison(pair, swapped=False) for pair in pairs(num)]
    started = time.perf_counter()
    asyncio.run(all_of(comparisons))
    return time.perf_counter() - started


def measure(_plan: Plan) -> Iterator[Facts]:
    """A row for each limit."""
    yield of_judgments(NUM, LIMITS)


def of_judgments(num: int, limits: Sequence[int]) -> Facts:
    """So many judgments, once for each limit; seconds, and how many times what the limit allows."""
    rows = []
    for limit in limits:
        with provider(LATENCY_S, limit) as url:
            seconds = (ours(url, num), gather(url, num, limit))
        floor = num / limit * LATENCY_S
        rows.append([str(limit), f"{floor:.2f}", *(f"{value:.2f} ({value / floor:.2f}x)" for value in seconds)])
    title = f"{num} judgments through the openai SDK, {1000 * LATENCY_S:.0f} ms each"
    return Facts("asking", "", title, ("calls at once", "what that allows, s", "apl-bench, s", "gather, s"), rows)
