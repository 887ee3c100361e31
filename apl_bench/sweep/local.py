"""Workers as processes of this machine, one cell at a time each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import NoReturn

from apl_bench.sweep.cells import Cell
from apl_bench.sweep.executor import Note, Report
from apl_bench.sweep.purse import Share
from apl_bench.sweep.worker import End, Orders, Outcome, Worker

PATIENCE_S = 20.0  # for workers that are told to stop: the longest call into torch


class Local:
    """One process for each slot, started when its first cell comes, and again after it died.

    `environments` are the variables that each slot's process gets beside our own, such as the GPU that it may see.
    """

    def __init__(self, orders: Orders, environments: Sequence[Mapping[str, str]]) -> None:
        self._orders = orders
        self._environments = environments
        self._context = multiprocessing.get_context("spawn")  # a fork of threads and locks would hang
        self._hands: dict[int, _Hand] = {}
        self._busy: set[int] = set()

    @property
    def num_slots(self) -> int:
        """Cells at a time."""
        return len(self._environments)

    def free(self) -> list[int]:
        """Slots without a cell."""
        return [slot for slot in range(self.num_slots) if slot not in self._busy]

    def submit(self, slot: int, cell: Cell, share: Share) -> None:
        """Give a free slot a cell."""
        if slot not in self._hands:
            self._hands[slot] = self._start(slot)
        self._busy.add(slot)
        with suppress(OSError):  # it died while it had nothing to do: `poll` says so
            self._hands[slot].ours.send((cell, share))

    def poll(self, timeout_s: float) -> list[Report]:
        """What workers had to say, at most after so long."""
        hands = {self._hands[slot].ours: slot for slot in self._busy}
        reports: list[Report] = []
        for connection in wait(list(hands), timeout_s):
            slot = hands[connection]  # type: ignore[index]  # connections are all that was waited for
            try:
                said: Note | Outcome = self._hands[slot].ours.recv()
            except (EOFError, OSError):
                said = self._buried(slot)
            if isinstance(said, Outcome):
                self._busy.discard(slot)
            reports.append(Report(slot, said))
        return reports

    def close(self) -> None:
        """Stop the workers: those at work let go of their cells, which stay as they are and can be gone on with."""
        for hand in self._hands.values():
            hand.ours.close()
            hand.process.terminate()
        for hand in self._hands.values():
            hand.process.join(PATIENCE_S)
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()
        self._hands.clear()
        self._busy.clear()

    def _start(self, slot: int) -> _Hand:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._orders, dict(self._environments[slot]))
        process = self._context.Process(target=serve, args=arguments, name=f"worker {slot + 1}")
        process.start()
        theirs.close()  # so that its death ends the connection
        return _Hand(process, ours)

    def _buried(self, slot: int) -> Outcome:
        """What to say of a process that is gone; the next cell gets a new one."""
        hand = self._hands.pop(slot)
        hand.ours.close()
        hand.process.join()
        return Outcome(End.DIED, f"its process ended with {_way(hand.process.exitcode)}")


class _Hand:
    """A worker's process and our end of the connection."""

    def __init__(self, process: SpawnProcess, ours: Connection) -> None:
        self.process, self.ours = process, ours


def _way(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"signal {signal.Signals(-code).name}; where that is SIGKILL, memory may have run out"
    return f"exit code {code}"


def serve(connection: Connection, orders: Orders, environment: Mapping[str, str]) -> None:
    """The worker's process: cells come in, outcomes go out, until nobody is at the other end."""
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; whoever started us tells us to stop
    signal.signal(signal.SIGTERM, _stop)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_outlive_nobody, args=(parent,), daemon=True).start()
    worker, lock = Worker(orders), threading.Lock()

    def tell(line: str) -> None:
        with lock:
            connection.send(Note(line))

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            cell, share = connection.recv()
            outcome = worker.work(cell, share, tell)
            with lock:
                connection.send(outcome)


def _stop(_signal: int, _frame: object) -> NoReturn:
    sys.exit(1)


def _outlive_nobody(parent: multiprocessing.process.BaseProcess) -> None:
    """Nobody would hear of what an orphan does: let go of the cell, and end."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_S)
    os._exit(1)
