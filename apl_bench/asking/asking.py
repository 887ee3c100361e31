"""From questions to records, whatever the oracle: in order, many at once, in batches, or when people have answered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Self

from apl_bench.asking.batches import Answered, BatchDesk, Waiting
from apl_bench.asking.budget import Caps, Meter
from apl_bench.asking.dispatch import Dispatcher, Patience
from apl_bench.asking.prices import Price, price_of
from apl_bench.asking.questions import Question
from apl_bench.asking.replies import Recording, check_request
from apl_bench.failures import AwaitingLabels, OracleError
from apl_bench.judgments.record import Record
from apl_bench.protocols import BatchOracle, DeferredOracle, Oracle, RemoteOracle
from apl_bench.types import JSON, Reply, SpecError

CHUNK = 128  # answers of a local oracle that are made durable together


def _silent(_line: str) -> None:
    """Tells nobody."""


def _nothing(_keys: Sequence[str]) -> Collection[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Terms:
    """How oracles over a network are asked in a command; none of it changes an answer.

    `price` stands in for the price table. `waiting` is how to wait for batches, and `tell` takes a line about what
    happens to them.
    """

    caps: Caps = field(default_factory=Caps)
    most_at_once: int = 64
    price: Price | None = None
    patience: Patience = field(default_factory=Patience)
    waiting: Waiting = field(default_factory=Waiting)
    tell: Callable[[str], None] = _silent


class Asking:
    """Asks for one command; counts what is spent over all its oracles and runs."""

    def __init__(self, terms: Terms | None = None, notes: Path | None = None) -> None:
        """`notes`: the folder where batches that are out are noted; without one, batches cannot be sent."""
        self.terms = terms or Terms()
        self.meter = Meter(self.terms.caps)
        self._notes = notes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections."""
        if "dispatcher" in self.__dict__:
            self.dispatcher.close()

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """Made when a remote oracle is first asked."""
        return Dispatcher(self.meter, self.terms.most_at_once, self.terms.patience)

    def records(
        self, oracle: Oracle, questions: Sequence[Question], batch: bool, answered: Answered = _nothing
    ) -> Iterator[list[Record]]:
        """Groups of records, each to be kept before the next is asked for; `batch` sends them through a batch API, and
        then `answered` says which of some keys have been answered meanwhile, by whoever else asks.

        What came before a failure is handed over, and then the failure raised.
        """
        check_request(oracle, questions[0])
        if batch:
            yield from self._in_batches(oracle, questions, answered)
        elif isinstance(oracle, RemoteOracle):
            yield from self._at_once(oracle, questions)
        elif isinstance(oracle, DeferredOracle):
            yield from _as_they_come(oracle, questions)
        else:
            for start in range(0, len(questions), CHUNK):
                yield from _in_order(oracle, questions[start : start + CHUNK])

    def _at_once(self, oracle: RemoteOracle, questions: Sequence[Question]) -> Iterator[list[Record]]:
        """Many calls at once; after a reply that cannot be recorded no more are sent."""
        recording = Recording(oracle)
        comparisons = [question.comparison for question in questions]
        for group in self.dispatcher.answers(oracle, comparisons, self._price(questions)):
            records = recording.records((questions[place].request, reply) for place, reply in group)
            if recording.error:
                self.dispatcher.stop(recording.error)
            if records:
                yield records

    def _in_batches(self, oracle: Oracle, questions: Sequence[Question], answered: Answered) -> Iterator[list[Record]]:
        if not isinstance(oracle, BatchOracle):
            raise SpecError(f"{type(oracle).__name__} has no batch API; expected one that has it, such as openai "
                            "or anthropic, or no --batch")  # fmt: skip
        if self._notes is None:
            raise SpecError("batches need a ledger to be noted beside; use --mode record")
        desk = BatchDesk(self._notes, self.meter, self.terms.waiting, self.terms.patience.deadline_s, self.terms.tell)
        yield from desk.records(oracle, questions, self._price(questions), self.dispatcher.run, answered)

    def _price(self, questions: Sequence[Question]) -> Price | None:
        return self.terms.price or price_of(questions[0].request)


def _as_they_come(oracle: DeferredOracle, questions: Sequence[Question]) -> Iterator[list[Record]]:
    """The records of what has been answered, also before the oracle says that it waits for more."""
    answers = oracle.answers([question.comparison for question in questions])
    recording = Recording(oracle)
    waiting: Exception | None = None
    while not waiting:
        replies: list[tuple[Mapping[str, JSON], Reply]] = []
        try:
            for place, reply in islice(answers, CHUNK):
                replies.append((questions[place].request, reply))
        except AwaitingLabels as error:
            waiting = error
        if records := recording.records(replies):
            yield records
        waiting = recording.error or waiting
        if not replies and not waiting:
            return
    raise waiting


def _in_order(oracle: Oracle, questions: Sequence[Question]) -> Iterator[list[Record]]:
    """The records of a few questions at once, also of those answered before the oracle failed.

    After a reply that cannot be recorded, one that answers while it is read from is asked no more.
    """
    recording = Recording(oracle)
    records: list[Record] = []
    failure: BaseException | None = None
    answers = oracle.ask([question.comparison for question in questions])
    replies = iter(answers)
    num = 0
    try:
        for question, reply in zip(questions, replies, strict=False):
            num += 1
            records += recording.records([(question.request, reply)])
            if recording.error and replies is answers:
                break
    except BaseException as error:
        failure = error
    failure = failure or recording.error
    if failure:
        if records:
            yield records
        raise failure
    num += len(list(islice(replies, 1)))
    if num != len(questions):
        seen = f"more than {len(questions)}" if num > len(questions) else str(num)
        raise OracleError(f"{type(oracle).__name__}.ask returned {seen} replies to {len(questions)} comparisons; "
                          "expected one for each, in order")  # fmt: skip
    yield records
