"""Asking the hosted oracles: the real SDKs against a server on loopback that does whatever servers do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from apl_bench.failures import CallError, Remedy
from apl_bench.oracles.anthropic_messages import AnthropicMessages
from apl_bench.oracles.hosted import Hosted
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.types import Comparison, Completion, Pair, Prompt, Reply, Verdict
from tests.fake_provider import FakeProvider

OPENAI_KEY = "sk-proj-0123456789abcdefghij"
ANTHROPIC_KEY = "sk-ant-api03-0123456789abcdefghij"

H = TypeVar("H", bound=Hosted)
T = TypeVar("T")


def comparison(first: str = " was good", second: str = " was bad", repeat: int = 0) -> Comparison:
    pair = Pair(Prompt("p", "The film"), *(Completion(text, (), True) for text in (first, second)))
    return Comparison(pair, swapped=False, repeat=repeat)


def comparisons(num: int) -> list[Comparison]:
    """Different ones, of which the first text wins in every other one."""
    return [comparison(" was good", " was bad" if i % 2 else " was good and good", repeat=i) for i in range(num)]


def openai(server: FakeProvider, **parameters: Any) -> OpenAIChat:
    return OpenAIChat(**{"model": "m-1", "template": "paper-sentiment-v1", "base_url": server.base_url, **parameters})


def anthropic(server: FakeProvider, **parameters: Any) -> AnthropicMessages:
    named = {"model": "m-1", "template": "paper-sentiment-v1", "base_url": server.root_url, **parameters}
    return AnthropicMessages(**named)


def run(asked: H, work: Callable[[H], Coroutine[Any, Any, T]]) -> T:
    """The work in a loop of its own, with the connections closed after it."""

    async def whole() -> T:
        try:
            return await work(asked)
        finally:
            await asked.close()

    return asyncio.run(whole())


def ask(asked: Hosted, *comparisons: Comparison) -> list[Reply]:
    async def each(backend: Hosted) -> list[Reply]:
        return [await backend.call(one) for one in comparisons or (comparison(),)]

    return run(asked, each)


def failure(asked: Hosted) -> CallError:
    with pytest.raises(CallError) as caught:
        ask(asked)
    return caught.value


async def cancel_once_arrived(asked: Hosted, server: FakeProvider) -> None:
    """A call that the server is stalling, given up. One that had not arrived would leave the stall to the next."""
    stalled = asyncio.ensure_future(asked.call(comparison()))
    while not server.calls:
        await asyncio.sleep(0.01)
    stalled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stalled


def refused_batch(asked: Hosted, message: str) -> CallError:
    """What is raised, with this message, where a batch of three is collected."""

    async def work(asked: Hosted) -> CallError:
        batch = await asked.submit(comparisons(3), "t")
        with pytest.raises(CallError, match=message) as caught:
            await asked.collect(batch)
        return caught.value

    return run(asked, work)


def assert_one_attempt(server: FakeProvider, asked: Hosted, remedy: Remedy, after_s: float | None, text: str) -> None:
    """The fault about to be shown is one sentence, after one call; the next call finds nothing broken."""
    error = failure(asked)
    assert (error.remedy, error.retry_after_s) == (remedy, after_s)
    assert text in str(error)
    assert "\n" not in str(error)
    assert len(server.calls) == 1
    (reply,) = ask(asked)
    assert asked.read(reply).verdict is Verdict.FIRST
