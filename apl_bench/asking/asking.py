"""From questions to records, whatever the oracle: in order, many at once, in batches, or when people have answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Self

from apl_bench.asking.batches import BatchDesk, Waiting
from apl_bench.asking.budget import Caps, Meter
from apl_bench.asking.dispatch import Dispatcher, Patience
from apl_bench.asking.prices import Price, price_of
from apl_bench.asking.questions import Question
from apl_bench.failures import AwaitingLabels, OracleError
from apl_bench.judgments.record import Record
from apl_bench.protocols import BatchOracle, DeferredOracle, Oracle, RemoteOracle
from apl_bench.types import SpecError

CHUNK = 128  # answers of a local oracle that are made durable together


@dataclass(frozen=True, slots=True)
class Terms:
    """How oracles over a network are asked in a command; none of it changes an answer.

    `price` stands in for the price table. `waiting` is how to wait for batches.
    """

    caps: Caps = field(default_factory=Caps)
    most_at_once: int = 64
    price: Price | None = None
    patience: Patience = field(default_factory=Patience)
    waiting: Waiting = field(default_factory=Waiting)


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

    def records(self, oracle: Oracle, questions: Sequence[Question], batch: bool) -> Iterator[list[Record]]:
        """Groups of records, each to be kept before the next is asked for; `batch` sends them through a batch API.

        What came before a failure is handed over, and then the failure raised.
        """
        if batch:
            yield from self._in_batches(oracle, questions)
        elif isinstance(oracle, RemoteOracle):
            price = self._price(questions)
            groups = self.dispatcher.answers(oracle, [question.comparison for question in questions], price)
            for group in groups:
                yield [Record.of(questions[place].request, reply) for place, reply in group]
        elif isinstance(oracle, DeferredOracle):
            yield from _as_they_come(oracle, questions)
        else:
            for start in range(0, len(questions), CHUNK):
                yield from _in_order(oracle, questions[start : start + CHUNK])

    def _in_batches(self, oracle: Oracle, questions: Sequence[Question]) -> Iterator[list[Record]]:
        if not isinstance(oracle, BatchOracle):
            raise SpecError(f"{type(oracle).__name__} has no batch API; expected one that has it, such as openai "
                            "or anthropic, or no --batch")  # fmt: skip
        if self._notes is None:
            raise SpecError("batches need a ledger to be noted beside; use --mode record")
        desk = BatchDesk(self._notes, self.meter, self.terms.waiting)
        yield from desk.records(oracle, questions, self._price(questions), self.dispatcher.run)

    def _price(self, questions: Sequence[Question]) -> Price | None:
        return self.terms.price or price_of(questions[0].request)


def _as_they_come(oracle: DeferredOracle, questions: Sequence[Question]) -> Iterator[list[Record]]:
    """The records of what has been answered, also before the oracle says that it waits for more."""
    answers = oracle.answers([question.comparison for question in questions])
    waiting: Exception | None = None
    while not waiting:
        records: list[Record] = []
        try:
            for place, reply in islice(answers, CHUNK):
                records.append(Record.of(questions[place].request, reply))
        except AwaitingLabels as error:
            waiting = error
        if records:
            yield records
        elif not waiting:
            return
    raise waiting


def _in_order(oracle: Oracle, questions: Sequence[Question]) -> Iterator[list[Record]]:
    """The records of a few questions at once, also of those answered before the oracle failed."""
    records: list[Record] = []
    replies = iter(oracle.ask([question.comparison for question in questions]))
    try:
        for question, reply in zip(questions, replies, strict=False):
            records.append(Record.of(question.request, reply))
    except BaseException:
        if records:
            yield records
        raise
    num = len(records) + len(list(islice(replies, 1)))
    if num != len(questions):
        seen = f"more than {len(questions)}" if num > len(questions) else str(num)
        raise OracleError(f"{type(oracle).__name__}.ask returned {seen} replies to {len(questions)} comparisons; "
                          "expected one for each, in order")  # fmt: skip
    yield records
