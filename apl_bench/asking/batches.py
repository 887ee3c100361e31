"""Comparisons sent through a provider's batch API: noted before they are sent, so that a kill pays for nothing twice.

A note (one JSON file a batch, beside the ledger) holds the token the batch is marked with, the requests in it, and the
provider's id once there is one. It goes away after its replies are in the ledger.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, zip_longest
from pathlib import Path
from typing import Any, TypeVar

from apl_bench.asking.budget import Meter, Spent
from apl_bench.asking.prices import Price
from apl_bench.asking.questions import Question
from apl_bench.failures import AwaitingLabels, CallError, OracleError, Remedy
from apl_bench.judgments.files import exclusively
from apl_bench.judgments.keys import request_key
from apl_bench.judgments.record import Record
from apl_bench.protocols import BatchOracle
from apl_bench.types import JSON, BatchState, SpecError

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Any]  # drives a coroutine to its end
NUM_ROUNDS = 3  # how often a request that failed inside a batch is sent again
LONGEST_ASKED_S = 900.0  # a provider that wants a longer pause is told to the user, and not slept through
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0  # between attempts to reach the batch API


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to wait for a batch: seconds between looks, growing from the first to the last; `patience_s` in all."""

    first_look_s: float = 10.0
    last_look_s: float = 120.0
    patience_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class _Note:
    """A batch that was or is about to be sent."""

    token: str
    provider: str
    requests: tuple[dict[str, JSON], ...]
    batch_id: str | None = None

    @property
    def keys(self) -> list[str]:
        return [request_key(request) for request in self.requests]


class BatchDesk:
    """Sends batches, remembers them, and collects their replies."""

    def __init__(self, folder: Path, meter: Meter, waiting: Waiting | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.meter = meter
        self.waiting = waiting or Waiting()

    def records(
        self, oracle: BatchOracle, questions: Sequence[Question], price: Price | None, run: Run
    ) -> Iterator[list[Record]]:
        """Records as batches end; `run` drives a coroutine. Raises AwaitingLabels once patience ends, OracleError for
        requests that failed in every round."""
        return _Errand(self, oracle, price and price.in_batches(), run, questions).records()

    def notes(self) -> list[_Note]:
        """The batches that are out or about to be sent."""
        return [_read(path) for path in sorted(self.folder.glob("*.json"))]

    def known(self, note: _Note) -> bool:
        """Whether this note was written before."""
        return self.path(note).exists()

    def write(self, note: _Note) -> None:
        """Keep a note, whole or not at all."""
        path = self.path(note)
        table = {"token": note.token, "provider": note.provider, "batch_id": note.batch_id, "requests": note.requests}
        temporary = path.with_suffix(f".{os.getpid()}.new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(table, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def drop(self, note: _Note) -> None:
        """Forget a batch whose replies are kept."""
        self.path(note).unlink(missing_ok=True)

    def path(self, note: _Note) -> Path:
        """Where a note is kept."""
        return self.folder / f"{note.token}.json"


class _Errand:
    """One call of `BatchDesk.records`."""

    def __init__(
        self, desk: BatchDesk, oracle: BatchOracle, price: Price | None, run: Run, questions: Sequence[Question]
    ) -> None:
        self._desk = desk
        self._oracle = oracle
        self._price = price
        self._run = run
        self._missing = {question.key: question for question in questions}
        self._reserved: dict[str, list[Spent]] = {}  # by a note's token, where this command reserved

    def records(self) -> Iterator[list[Record]]:
        reasons = ["no reason given"]
        for _ in range(NUM_ROUNDS):
            with exclusively(
                self._desk.folder
            ):  # of two commands that want the same, the second finds the first's note
                notes = [self._send(note) for note in self._outstanding()]
            for note in notes:
                state = self._ended(note)
                records = [Record.of(note.requests[place], reply) for place, reply in sorted(state.replies.items())]
                self._settle(note, records)
                yield records
                self._desk.drop(note)  # its replies are in the ledger now
                reasons += state.failures.values()
                for record in records:
                    self._missing.pop(record.key, None)
            if not self._missing:
                return
        raise OracleError(f"{len(self._missing)} comparisons failed in {NUM_ROUNDS} batches, the last one for: "
                          f"{reasons[-1]}. What was answered is kept")  # fmt: skip

    def _outstanding(self) -> list[_Note]:
        """Batches that hold something missing: those already noted, and new ones for the rest."""
        notes = [note for note in self._desk.notes() if any(key in self._missing for key in note.keys)]
        covered = {key for note in notes for key in note.keys}
        rest = [question for key, question in self._missing.items() if key not in covered]
        for start in range(0, len(rest), self._oracle.max_batch):
            requests = tuple(dict(question.request) for question in rest[start : start + self._oracle.max_batch])
            notes.append(_Note(secrets.token_hex(8), str(requests[0].get("provider")), requests))
        return notes

    def _send(self, note: _Note) -> _Note:
        """See to it that the batch of this note is at the provider, once."""
        if note.batch_id is not None:
            return note
        batch_id = self._patiently(lambda: self._oracle.find(note.token)) if self._desk.known(note) else None
        if batch_id is None:
            mine = tuple(request for request in note.requests if request_key(request) in self._missing)
            if mine != note.requests:  # noted by a command that wanted more: another list is another batch
                note = _Note(secrets.token_hex(8), note.provider, mine)
            batch_id = self._submit(note)
        note = replace(note, batch_id=batch_id)
        self._desk.write(note)
        return note

    def _submit(self, note: _Note) -> str:
        """Reserve, note, and send; after a failure look first whether the batch arrived all the same."""
        comparisons = [self._missing[key].comparison for key in note.keys]
        meter, allowances = self._desk.meter, [self._oracle.allowance(comparison) for comparison in comparisons]
        self._reserved[note.token] = [meter.reserve(allowance, self._price) for allowance in allowances]
        self._desk.write(note)

        attempts = count()

        async def send() -> str:
            found = await self._oracle.find(note.token) if next(attempts) else None  # not before the first: it is new
            return found or await self._oracle.submit(comparisons, note.token)

        return self._patiently(send)

    def _ended(self, note: _Note) -> BatchState:
        """The state of a batch once it has ended. Raises AwaitingLabels where that takes too long."""
        waiting, batch_id, started = self._desk.waiting, note.batch_id or "", time.monotonic()
        look_s = waiting.first_look_s
        while True:
            try:
                state = self._patiently(lambda: self._oracle.collect(batch_id))
            except OracleError as error:
                raise OracleError(f"{error}. If nothing more can come of this batch, remove its note "
                                  f"{self._desk.path(note)}: the same command then asks anew") from None  # fmt: skip
            if state.ended:
                return state
            if time.monotonic() - started + look_s > waiting.patience_s:
                raise AwaitingLabels(len(self._missing), f"Batch {batch_id} of {note.provider} has {state.num_done} of "
                                     f"{len(note.requests)} done; the same command collects it")  # fmt: skip
            self._run(asyncio.sleep(look_s))
            look_s = min(1.5 * look_s, waiting.last_look_s)

    def _settle(self, note: _Note, records: Sequence[Record]) -> None:
        """Count what the replies used; a batch that an earlier command reserved is counted here as well."""
        meter = self._desk.meter
        reserved = self._reserved.pop(note.token, None) or [meter.set_aside() for _ in records]
        usages: list[Mapping[str, int]] = [record.reply.usage for record in records]
        for part, usage in zip_longest(reserved, usages, fillvalue=None):
            meter.settle(part or meter.set_aside(), usage or {}, self._price)

    def _patiently(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of a call to the batch API, tried again where that may help. Raises OracleError."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                result: T = self._run(call())
                return result
            except CallError as error:
                asked_s = error.retry_after_s or 0.0
                if error.remedy is Remedy.STOP or wait_s > LONGEST_WAIT_S or asked_s > LONGEST_ASKED_S:
                    raise OracleError(str(error)) from None
                self._run(asyncio.sleep(wait_s if error.retry_after_s is None else error.retry_after_s))
                wait_s *= 2


def _read(path: Path) -> _Note:
    """A note as it was written. Raises SpecError for anything else."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return _Note(table["token"], table["provider"], tuple(table["requests"]), table["batch_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f"{path} is not a note of a batch ({error}); it says what was sent to a provider: look at it, "
                        "and move it away if nothing is outstanding there") from None  # fmt: skip
