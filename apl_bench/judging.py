"""Presentation order, asking, and what an answer means: from pairs to verdicts, through the ledger.

Every answer is read from the raw reply as the ledger holds it. Nothing is asked twice: a retry finds the record, under
the same order, or sends the same comparison again. Nothing is made up: what cannot be read is INVALID, and a failure
to get an answer is an exception.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Protocol, runtime_checkable

from apl_bench.judgments.keys import request_key
from apl_bench.judgments.nearest import Nearest, nearest_record
from apl_bench.judgments.record import Record
from apl_bench.protocols import Oracle
from apl_bench.spec import ORDERS, nearest
from apl_bench.types import JSON, Comparison, Pair, Preference, Reply, Verdict

ORDER_SALT = "presentation-order/1"
CHUNK = 128  # comparisons asked and made durable together: at most so many answers can be lost to a crash
_MAX_COMPARED = 20_000


class Mode(Enum):
    """`RECORD` asks for what the ledger does not have, and keeps it; `REPLAY` never asks."""

    RECORD = "record"
    REPLAY = "replay"


@runtime_checkable
class Judgments(Protocol):
    """Records by key, to read."""

    def get_many(self, keys: Sequence[str]) -> Mapping[str, Record]: ...


@runtime_checkable
class WritableJudgments(Judgments, Protocol):
    """Records by key, to read and write; `add` returns when they are durable, and the first writer of a key wins."""

    def add(self, records: Iterable[Record]) -> None: ...


@runtime_checkable
class SearchableJudgments(Judgments, Protocol):
    """Records that can be gone through, to find the one nearest to what is missing."""

    def records(self) -> Iterator[Record]: ...


class OracleError(Exception):
    """An oracle broke its contract: which one, what it returned, what was expected."""


class MissingJudgment(Exception):  # noqa: N818 - its name is part of the interface: exit code 4
    """In replay, a comparison that nobody recorded: its key and request, and the recorded one nearest to it."""

    def __init__(self, request: Mapping[str, JSON], num_missing: int, closest: Nearest | None) -> None:
        self.key = request_key(request)
        self.request = request
        self.num_missing = num_missing
        self.nearest = closest
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        yield (f"no recorded judgment for {self.num_missing} comparisons; the first has key {self.key}. A replay asks "
               "no oracle: record them first, or replay with the ledger that has them")  # fmt: skip
        if self.nearest is None:
            yield "there is no other record to compare it with"
            return
        yield f"the nearest record, {self.nearest.key}, differs in {len(self.nearest.differences)} fields:"
        yield from (f"  {difference}" for difference in self.nearest.differences)


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair with its verdict. `verdict` and `p_first` (probability that the first is preferred) are in the pair's own
    order, whichever was shown first; `key` and `record` are None for identical completions: nobody is asked.
    """

    pair: Pair
    verdict: Verdict
    p_first: float | None
    swapped: bool
    key: str | None
    record: Record | None


def presented(pair: Pair, order: str, salt: str) -> Comparison:
    """The pair in the order in which it is shown.

    `random`: one bit of a hash, keyed with `salt`, of the prompt and the two texts without their order says whether the
    lexicographically smaller one comes first. So it is the same in every process, on every machine and at every retry,
    and exchanging the two completions shows the same page. `fixed`: as it is, for tests. Raises SpecError for others.
    """
    if order == "fixed":
        return Comparison(pair, swapped=False)
    if order != "random":
        raise nearest(order, "presentation order", ORDERS)
    smaller, larger = sorted([pair.first.text, pair.second.text])
    return Comparison(pair, swapped=(pair.first.text == smaller) != _bit(salt, pair.prompt.text, smaller, larger))


def _bit(salt: str, *texts: str) -> bool:
    """One bit of blake2b under a key; each text goes in with its length, so that no two lists of texts are alike."""
    digest = hashlib.blake2b(digest_size=1, key=salt.encode())
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return bool(digest.digest()[0] & 1)


@dataclass(frozen=True, slots=True)
class _Question:
    comparison: Comparison
    request: Mapping[str, JSON]
    key: str


def _keep(questions: Sequence[_Question], replies: Sequence[Reply], ledger: WritableJudgments) -> None:
    """Make the replies to the first of these questions durable."""
    if replies:
        ledger.add([Record.of(item.request, reply) for item, reply in zip(questions, replies, strict=False)])


class Judging:
    """One oracle, asked through one ledger: the only way from a pair to a verdict."""

    def __init__(self, oracle: Oracle, ledger: Judgments, mode: Mode, order: str) -> None:
        """Raises SpecError for an unknown order, TypeError for recording into a ledger that has no `add`."""
        if order not in ORDERS:
            raise nearest(order, "presentation order", ORDERS)
        if mode is Mode.RECORD and not isinstance(ledger, WritableJudgments):
            raise TypeError(f"a {type(ledger).__name__} cannot record: it has no method 'add'; use Mode.REPLAY")
        self._oracle = oracle
        self._ledger = ledger
        self._mode = mode
        self._order = order

    def judge(self, pairs: Sequence[Pair]) -> list[Judged]:
        """One verdict for each pair, in order; equal comparisons are asked once, identical completions never.

        Raises MissingJudgment in replay, OracleError for a broken oracle, and whatever the oracle raises where it gets
        no answer; what was answered before that is in the ledger.
        """
        questions = [None if pair.identical else self._question(pair) for pair in pairs]
        distinct = {question.key: question for question in questions if question}
        known = dict(self._ledger.get_many(list(distinct)))
        missing = [question for key, question in distinct.items() if key not in known]
        if missing:
            known |= self._buy(missing)
        return [
            self._judged(pair, question, known[question.key])
            if question
            else Judged(pair, Verdict.TIE, None, swapped=False, key=None, record=None)
            for pair, question in zip(pairs, questions, strict=True)
        ]

    def _question(self, pair: Pair) -> _Question:
        comparison = presented(pair, self._order, ORDER_SALT)
        request = self._oracle.request(comparison)
        return _Question(comparison, request, request_key(request))

    def _buy(self, missing: Sequence[_Question]) -> dict[str, Record]:
        """Ask, chunk by chunk, each kept before the next; returns the records as the ledger has them."""
        if self._mode is Mode.REPLAY:
            raise MissingJudgment(missing[0].request, len(missing), self._nearest(missing[0].request))
        assert isinstance(self._ledger, WritableJudgments)
        bought: dict[str, Record] = {}
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            self._ask(chunk, self._ledger)
            # Read back: where another process asked the same at the same time, the first writer's answer is the answer.
            bought |= self._ledger.get_many([question.key for question in chunk])
        return bought

    def _ask(self, chunk: Sequence[_Question], ledger: WritableJudgments) -> None:
        """Ask, and keep every answer that came, also where the oracle fails before it has given all."""
        replies: list[Reply] = []
        try:
            for reply in islice(self._oracle.ask([question.comparison for question in chunk]), len(chunk) + 1):
                replies.append(reply)
        except BaseException:
            _keep(chunk, replies, ledger)
            raise
        if len(replies) != len(chunk):
            seen = f"more than {len(chunk)}" if len(replies) > len(chunk) else str(len(replies))
            raise OracleError(f"{type(self._oracle).__name__}.ask returned {seen} replies to {len(chunk)} "
                              "comparisons; expected one for each, in order")  # fmt: skip
        _keep(chunk, replies, ledger)

    def _judged(self, pair: Pair, question: _Question, record: Record) -> Judged:
        reading, swapped = self._oracle.read(record.reply), question.comparison.swapped
        p_first = reading.p_first
        if p_first is not None and not 0 <= p_first <= 1:
            name = type(self._oracle).__name__
            raise OracleError(f"{name}.read gave p_first = {p_first!r}; expected a number from 0 to 1, or None")
        if p_first is not None and swapped:
            p_first = 1 - p_first
        return Judged(pair, reading.verdict.unswap(swapped), p_first, swapped, question.key, record)

    def _nearest(self, request: Mapping[str, JSON]) -> Nearest | None:
        if not isinstance(self._ledger, SearchableJudgments):
            return None
        return nearest_record(request, islice(self._ledger.records(), _MAX_COMPARED))


def preference(pair: Pair, verdict: Verdict, step: int) -> Preference | None:
    """What DPO learns from a verdict in the pair's own order; None for ties and invalid ones: their label is spent."""
    if verdict is Verdict.FIRST:
        return Preference(pair.prompt, pair.first, pair.second, step)
    if verdict is Verdict.SECOND:
        return Preference(pair.prompt, pair.second, pair.first, step)
    return None
