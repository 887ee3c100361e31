"""Comparisons sent through a provider's batch API: noted before they are sent, so that a kill pays for nothing twice.

What comes back unprocessed, and so unpaid, is sent once more in the same command. What may have been paid for is never
sent again by itself: its note stays, and the next command looks at that batch again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from apl_bench.asking.budget import Meter, Spent
from apl_bench.asking.notes import Note, Notes
from apl_bench.asking.prices import Price
from apl_bench.asking.questions import Question
from apl_bench.asking.replies import Recording
from apl_bench.deadline import within
from apl_bench.failures import AwaitingLabels, BatchFailedError, CallError, OracleError, Remedy
from apl_bench.judgments.files import exclusively
from apl_bench.judgments.record import Record
from apl_bench.protocols import BatchOracle
from apl_bench.types import BatchState

T = TypeVar("T")
Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]  # drives a coroutine to its end
Answered: TypeAlias = Callable[[Sequence[str]], Collection[str]]  # which of these keys have been answered by now
NUM_ROUNDS = 2  # what came back unprocessed is sent once more
LONGEST_ASKED_S = 900.0  # a provider that wants a longer pause is told to the user, and not slept through
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0  # between attempts to reach the batch API
KEPT = "What was answered is kept"
_TWO_WAYS = "the same command looks again; without --batch it asks, and pays, anew"


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to wait for a batch: seconds between looks, growing from the first to the last; `patience_s` in all."""

    first_look_s: float = 10.0
    last_look_s: float = 120.0
    patience_s: float = float("inf")


class BatchDesk:
    """Sends batches, remembers them, and collects their replies."""

    def __init__(
        self, folder: Path, meter: Meter, waiting: Waiting, deadline_s: float, tell: Callable[[str], None]
    ) -> None:
        """`deadline_s`: how long one call to the provider may take. `tell` takes a line about a batch that failed."""
        self.notes = Notes(folder)
        self.meter = meter
        self.waiting = waiting
        self.deadline_s = deadline_s
        self.tell = tell

    def records(
        self, oracle: BatchOracle, questions: Sequence[Question], price: Price | None, run: Run, answered: Answered
    ) -> Iterator[list[Record]]:
        """Records as batches end, none for what others have got answered meanwhile; `run` drives a coroutine.

        Raises AwaitingLabels once patience ends; OracleError for what failed for good, after the records of the rest.
        """
        link = _Link(oracle, run, self.deadline_s)
        return _Errand(self, link, price and price.in_batches(), questions, answered).records()


class _Link:
    """Calls to a batch API, each tried again where that may help."""

    def __init__(self, oracle: BatchOracle, run: Run, deadline_s: float) -> None:
        self.oracle = oracle
        self.run = run
        self._deadline_s = deadline_s

    def patiently(self, what: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of a call. Raises BatchFailedError, and OracleError, which begins with `what` failed."""
        wait_s, num_attempts = FIRST_WAIT_S, 0
        while True:
            try:
                num_attempts += 1
                result: T = self.run(within(self._deadline_s, call()))
                return result
            except BatchFailedError:
                raise
            except CallError as error:
                asked_s = error.retry_after_s or 0.0
                if error.remedy is Remedy.STOP or wait_s > LONGEST_WAIT_S or asked_s > LONGEST_ASKED_S:
                    tried = f" (tried {num_attempts} times)" if num_attempts > 1 else ""
                    raise OracleError(f"{what}: {error}{tried}") from None
                self.run(asyncio.sleep(wait_s if error.retry_after_s is None else error.retry_after_s))
                wait_s *= 2


class _Errand:
    """One call of `BatchDesk.records`."""

    def __init__(
        self, desk: BatchDesk, link: _Link, price: Price | None, questions: Sequence[Question], answered: Answered
    ) -> None:
        self._desk = desk
        self._link = link
        self._price = price
        self._missing = {question.key: question for question in questions}
        self._answered = answered
        self._reserved: dict[str, list[Spent]] = {}  # by a note's token, where this command reserved
        self._lasting: list[OracleError] = []  # what another batch would not help
        self._reason = ""  # why the last request came back unprocessed

    def records(self) -> Iterator[list[Record]]:
        for number in range(1, NUM_ROUNDS + 1):
            with exclusively(self._desk.notes.folder):  # of two commands that want the same, one sends it
                notes = self._outstanding()
            for note in notes:
                yield from self._collected(note)
            if self._lasting:
                raise self._lasting[0]
            if not self._missing:
                return
            back = f"{len(self._missing)} comparisons came back unprocessed and unpaid"
            if number < NUM_ROUNDS:
                self._desk.tell(f"{back}, {self._reason}. They are sent once more, in a new batch")
        raise OracleError(f"{back} from {NUM_ROUNDS} batches, {self._reason}. {KEPT}; the same command sends the rest "
                          "anew")  # fmt: skip

    def _outstanding(self) -> list[Note]:
        """Batches at the provider that hold something missing: those already noted, and new ones for the rest."""
        found = [self._arrived(note) for note in self._desk.notes.about(self._missing)]
        for key in self._answered(list(self._missing)):  # after the notes: one goes away once its replies are kept
            self._missing.pop(key, None)
        notes = [note for note in found if note]
        covered = {key for note in notes for key in note.open_keys}
        rest = [question for key, question in self._missing.items() if key not in covered]
        size = self._link.oracle.max_batch
        return notes + [self._submitted(rest[start : start + size]) for start in range(0, len(rest), size)]

    def _arrived(self, note: Note) -> Note | None:
        """The note with the provider's id of its batch; None, and forgotten, where it was never sent."""
        if note.batch_id is not None:
            return note
        what = f"cannot find out whether a batch reached {note.provider}"
        batch_id = self._link.patiently(what, lambda: self._link.oracle.find(note.token))
        if batch_id is None:
            self._desk.notes.drop(note)
            return None
        note = replace(note, batch_id=batch_id)
        self._desk.notes.write(note)
        return note

    def _submitted(self, questions: Sequence[Question]) -> Note:
        """Reserve, note, and send; after a failure look first whether the batch arrived all the same."""
        desk, oracle = self._desk, self._link.oracle
        comparisons = [question.comparison for question in questions]
        note = Note.new([question.request for question in questions])
        allowances = [oracle.allowance(comparison) for comparison in comparisons]
        self._reserved[note.token] = desk.meter.reserve_all(allowances, self._price)
        desk.notes.write(note)
        may_be_there = False

        async def send() -> str:
            nonlocal may_be_there
            if may_be_there and (found := await oracle.find(note.token)):
                return found
            before, may_be_there = may_be_there, True
            try:
                return await oracle.submit(comparisons, note.token)
            except CallError as error:
                if error.remedy is not Remedy.RETRY:  # it was refused
                    may_be_there = before
                raise

        try:
            batch_id = self._link.patiently(f"a batch of {len(questions)} could not be sent to {note.provider}", send)
        except OracleError as error:
            if may_be_there:
                raise OracleError(f"{error}. It may have arrived, and stays noted: the same command looks for it "
                                  "before it sends anything") from None  # fmt: skip
            self._forget(note)
            raise
        note = replace(note, batch_id=batch_id)
        desk.notes.write(note)
        return note

    def _collected(self, note: Note) -> Iterator[list[Record]]:
        """The records of a batch, once it has ended; then its note goes, but for what is still open."""
        try:
            state = self._ended(note)
        except BatchFailedError as error:
            self._forget(note)
            if error.remedy is Remedy.STOP:
                raise OracleError(f"{error}, and nothing was paid for. {KEPT}; once the cause is mended, the same "
                                  "command sends a new batch") from None  # fmt: skip
            self._reason = f"the last of them because {error}"
            return
        recording = Recording(self._link.oracle)
        records = recording.records((note.requests[at], state.replies[at]) for at in note.open if at in state.replies)
        self._count(note, state)
        if records:
            yield records
        done = {record.key for record in records} | {note.keys[at] for at in note.open if _unpaid(state, at)}
        self._desk.notes.settle(note, [at for at in note.open if note.keys[at] in done])
        self._note_failures(note, state, recording)
        for record in records:
            self._missing.pop(record.key, None)

    def _ended(self, note: Note) -> BatchState:
        """The state of a batch once it has ended. Raises AwaitingLabels where that takes too long."""
        waiting, batch_id, started = self._desk.waiting, note.batch_id or "", time.monotonic()
        look_s = waiting.first_look_s
        while True:
            try:
                state = self._link.patiently(f"{note} was not collected", lambda: self._link.oracle.collect(batch_id))
            except OracleError as error:
                raise OracleError(f"{error}. It may have been paid for and stays noted: {_TWO_WAYS}") from None
            if state.ended:
                return state
            if time.monotonic() - started + look_s > waiting.patience_s:
                raise AwaitingLabels(len(self._missing), f"B{str(note)[1:]} has {state.num_done} of "
                                     f"{len(note.requests)} done; the same command collects it")  # fmt: skip
            self._link.run(asyncio.sleep(look_s))
            look_s = min(1.5 * look_s, waiting.last_look_s)

    def _count(self, note: Note, state: BatchState) -> None:
        """Settle what this command reserved; what an earlier one sent is that one's expense."""
        meter, reserved = self._desk.meter, self._reserved.pop(note.token, None)
        for at in note.open:
            if reserved is None:
                if at in state.replies:
                    meter.collect(state.replies[at], self._price)
            elif at in state.replies:
                meter.settle_reply(reserved[at], state.replies[at], self._price)
            elif _unpaid(state, at):
                meter.release(reserved[at])
            else:
                meter.settle_unknown(reserved[at])

    def _forget(self, note: Note) -> None:
        """Nothing of this batch was processed."""
        for part in self._reserved.pop(note.token, ()):
            self._desk.meter.release(part)
        self._desk.notes.drop(note)

    def _note_failures(self, note: Note, state: BatchState, recording: Recording) -> None:
        """What this batch leaves to be told, as far as this command wants it."""
        without = [at for at in note.open if at not in state.replies and note.keys[at] in self._missing]
        unsettled = [at for at in without if not _unpaid(state, at)]
        refused = [at for at in without if at in state.refused and at not in unsettled]
        again = [at for at in without if at not in unsettled and at not in refused]
        if recording.error:
            self._lasting.append(OracleError(f"{recording.error}, which collects {note} once more and does not pay"))
        if unsettled:
            why = state.failures.get(unsettled[0], "nothing is said of it")
            self._lasting.append(OracleError(
                f"{len(unsettled)} of {len(note.requests)} requests of {note} have no answer that can be used, and may "
                f"have been paid for; the first is {note.keys[unsettled[0]]}: {why}. {KEPT}, and so is the batch's "
                f"note: {_TWO_WAYS}"
            ))  # fmt: skip
        if refused:
            self._lasting.append(OracleError(
                f"{len(refused)} of {len(note.requests)} requests of {note} were refused, and not paid for; the first "
                f"is {note.keys[refused[0]]}: {state.failures[refused[0]]}. {KEPT}; the same command sends these anew"
            ))  # fmt: skip
        if again:
            self._reason = f"the last of them in {note}: {state.failures[again[-1]]}"


def _unpaid(state: BatchState, at: int) -> bool:
    """Whether this request of an ended batch certainly was not processed."""
    return at in state.failures and at not in state.replies and at not in state.unsettled
