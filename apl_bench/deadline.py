"""How long a call over a network may take, also where one errand, such as sending a batch, makes several."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from apl_bench.failures import CallError, Remedy

T = TypeVar("T")

_running: ContextVar[tuple[asyncio.Timeout, float] | None] = ContextVar("deadline", default=None)


async def within(deadline_s: float, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives. Raises CallError(RETRY) where a call in it takes longer than the deadline.

    Work that never says `next_call` is one call.
    """
    try:
        async with asyncio.timeout(deadline_s) as timeout:
            before = _running.set((timeout, deadline_s))
            try:
                return await work
            finally:
                _running.reset(before)
    except TimeoutError:
        raise CallError(f"no reply within {deadline_s:g} s", Remedy.RETRY) from None


def next_call() -> None:
    """What the work does from here on is another call, with a whole deadline for itself."""
    running = _running.get()
    if running is not None and not running[0].expired():
        running[0].reschedule(asyncio.get_running_loop().time() + running[1])
