"""Many calls at once: sent as the pace and the caps allow, tried again where that may help, handed over as they end.

The caller keeps each group of replies before it asks for the next, and no call is sent in between: whatever kills the
process, at most the calls in flight are paid for and lost.
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from apl_bench.asking.budget import CapReachedError, Meter, Spent
from apl_bench.asking.pace import Pace, Ticket
from apl_bench.asking.prices import Price
from apl_bench.deadline import within
from apl_bench.failures import CallError, OracleError, Remedy
from apl_bench.protocols import RemoteOracle
from apl_bench.types import Comparison, Reply

T = TypeVar("T")
LOOK_S = 0.5  # how often a wait looks whether it was interrupted


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take, how often one is tried, and how long all of them may go without a single reply."""

    deadline_s: float = 120.0
    num_attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    silence_s: float = 900.0
    farewell_s: float = 30.0  # for calls in flight, once no more are sent


@dataclass(slots=True)
class _Job:
    """A comparison that has no reply yet."""

    position: int
    comparison: Comparison
    num_failures: int = 0
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class _Call:
    """A call in flight."""

    job: _Job
    ticket: Ticket
    reserved: Spent


@dataclass
class _Round:
    """The state of one `answers`: what waits, what is out, and why no more is sent, once that is so."""

    oracle: RemoteOracle
    pace: Pace
    waiting: deque[_Job]
    out: dict[asyncio.Task[Reply], _Call] = field(default_factory=dict)
    stopped: BaseException | None = None
    last_reply_at: float = field(default_factory=time.monotonic)
    farewell_by: float | None = None


class Dispatcher:
    """Asks remote oracles; one for a whole command, so that the pace that was learned and the connections stay."""

    def __init__(self, meter: Meter, most_at_once: int = 64, patience: Patience | None = None) -> None:
        self.meter = meter
        self._most_at_once = most_at_once
        self._paces: dict[str, Pace] = {}
        self.num_retries = 0
        self._patience = patience or Patience()
        self._jitter = random.Random()  # of waiting times alone
        self._runner = asyncio.Runner()
        self._oracles: list[RemoteOracle] = []
        self._round: _Round | None = None

    def answers(
        self, oracle: RemoteOracle, comparisons: Sequence[Comparison], price: Price | None
    ) -> Iterator[list[tuple[int, Reply]]]:
        """Groups of replies with the positions of their comparisons, in the order in which they come.

        Raises OracleError where calls fail for good, CapReachedError at a cap; what was in flight is handed over first.
        """
        if oracle not in self._oracles:
            self._oracles.append(oracle)
        jobs = deque(_Job(i, comparison) for i, comparison in enumerate(comparisons))
        round_ = self._round = _Round(oracle, self.pace_of(oracle), jobs)
        with _interrupts_wait(round_):
            while round_.out or (round_.waiting and not round_.stopped):
                group = self._runner.run(self._next_group(round_, price))
                if group:
                    yield group
        if round_.stopped:
            raise round_.stopped

    def stop(self, error: Exception) -> None:
        """Send no more of these `answers`, which go on with what is in flight and then raise this error."""
        assert self._round is not None, "answers are being taken"
        self._round.stopped = self._round.stopped or error

    def pace_of(self, oracle: RemoteOracle) -> Pace:
        """What was learned of this oracle's provider, by whichever run asked it."""
        name = f"{type(oracle).__name__} {sorted(oracle.identity().items())}"
        return self._paces.setdefault(name, Pace(self._most_at_once))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Drive a coroutine in the loop that the connections belong to."""
        return self._runner.run(coroutine)

    def close(self) -> None:
        """Let go of the connections."""
        try:
            for oracle in self._oracles:
                self._runner.run(oracle.close())
        finally:
            self._runner.close()

    async def _next_group(self, round_: _Round, price: Price | None) -> list[tuple[int, Reply]]:
        """Send what may be sent, wait until something ends, and settle it."""
        wake_at = self._send(round_, price)
        if not round_.out:
            await asyncio.sleep(max(0.0, wake_at - time.monotonic()) if round_.waiting and not round_.stopped else 0.0)
            return []
        wait_s = min(LOOK_S, max(0.0, wake_at - time.monotonic()))
        done, _ = await asyncio.wait(round_.out, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        if round_.stopped and not done:
            round_.farewell_by = round_.farewell_by or time.monotonic() + self._patience.farewell_s
            if time.monotonic() > round_.farewell_by:
                await self._abandon(round_)
        group = [found for task in done if (found := self._settle(round_, task, price))]
        return sorted(group, key=lambda answer: answer[0])

    def _send(self, round_: _Round, price: Price | None) -> float:
        """Send what may be sent now; returns when more may be, unless a call ends before."""
        now = time.monotonic()
        only_an_end_helps = now + 2 * self._patience.deadline_s
        later: list[_Job] = []
        wake_at = only_an_end_helps
        while round_.waiting and not round_.stopped:
            if len(round_.out) >= round_.pace.limit:
                wake_at = only_an_end_helps
                break
            if now < round_.pace.not_before:
                wake_at = round_.pace.not_before
                break
            job = round_.waiting.popleft()
            if job.not_before > now:
                later.append(job)
                wake_at = min(wake_at, job.not_before)
            elif not self._start(round_, job, price):
                wake_at = only_an_end_helps
                break
        round_.waiting.extendleft(reversed(later))
        return wake_at

    def _start(self, round_: _Round, job: _Job, price: Price | None) -> bool:
        """Send one call, unless a cap forbids it: then wait for others to settle, or stop where there are none."""
        try:
            reserved = self.meter.reserve(round_.oracle.allowance(job.comparison), price)
        except CapReachedError as error:
            round_.waiting.appendleft(job)
            if not round_.out:  # no call whose reservation could shrink to what it used
                round_.stopped = error
            return False
        task = asyncio.get_running_loop().create_task(self._call(round_.oracle, job.comparison))
        round_.out[task] = _Call(job, round_.pace.sent(len(round_.out) + 1), reserved)
        return True

    async def _call(self, oracle: RemoteOracle, comparison: Comparison) -> Reply:
        return await within(self._patience.deadline_s, oracle.call(comparison))

    def _settle(self, round_: _Round, task: asyncio.Task[Reply], price: Price | None) -> tuple[int, Reply] | None:
        """Account for a call that ended; its reply, or None where it is to be tried again or given up."""
        call = round_.out.pop(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or (error is not None and not isinstance(error, CallError)):
            self.meter.settle(call.reserved, {}, price)
            round_.stopped = round_.stopped or (error if isinstance(error, Exception) else OracleError("interrupted"))
            return None
        if isinstance(error, CallError):
            if error.usage or error.answered or error.remedy is not Remedy.RETRY:
                self.meter.settle(call.reserved, error.usage, price)
            else:
                self.meter.settle_unknown(call.reserved)
            self._failed(round_, call, error)
            return None
        reply = task.result()
        self.meter.settle_reply(call.reserved, reply, price)
        round_.pace.succeeded()
        round_.last_reply_at = time.monotonic()
        return call.job.position, reply

    def _failed(self, round_: _Round, call: _Call, error: CallError) -> None:
        """Put the comparison back with a time before which it is not asked again, or stop sending."""
        now, job, patience = time.monotonic(), call.job, self._patience
        if error.remedy is Remedy.SLOW_DOWN:
            round_.pace.throttled(call.ticket, now, error.retry_after_s)
        else:
            job.num_failures += 1
        silent_s = now - round_.last_reply_at + (error.retry_after_s or 0.0)
        given_up = job.num_failures >= patience.num_attempts or silent_s > patience.silence_s
        if error.remedy is Remedy.STOP or given_up:
            round_.stopped = round_.stopped or OracleError(f"{error}{_tried(job, silent_s, patience)}")
            return
        self.num_retries += 1
        wait_s = min(patience.longest_wait_s, patience.first_wait_s * 2 ** max(0, job.num_failures - 1))
        if error.remedy is Remedy.SLOW_DOWN:
            wait_s = 0.0 if error.retry_after_s is not None else patience.first_wait_s
        job.not_before = now + max(error.retry_after_s or 0.0, wait_s * self._jitter.uniform(0.5, 1.0))
        round_.waiting.appendleft(job)

    async def _abandon(self, round_: _Round) -> None:
        """Nothing came home in time: cancel what is out."""
        for task in round_.out:
            task.cancel()
        await asyncio.wait(round_.out)


@contextmanager
def _interrupts_wait(round_: _Round) -> Iterator[None]:
    """The first Ctrl-C sends no more, and lets what is in flight come home and be kept; a second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_signal: object) -> None:
        if round_.stopped:
            raise KeyboardInterrupt
        round_.stopped = KeyboardInterrupt()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _tried(job: _Job, silent_s: float, patience: Patience) -> str:
    """Why no more is tried."""
    if silent_s > patience.silence_s:
        return f" (no reply would have come for {silent_s:.0f} s)"
    return f" (tried {job.num_failures} times)" if job.num_failures > 1 else ""
