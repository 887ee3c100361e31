"""Presentation order, asking, and what an answer means: from pairs to verdicts, through the ledger.

Every answer is read from the raw reply as the ledger holds it. Nothing is asked twice: a retry finds the record, under
the same order, or sends the same comparison again. Nothing is made up: what cannot be read is INVALID, and a failure
to get an answer is an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol, runtime_checkable

from apl_bench.asking.asking import Asking
from apl_bench.asking.questions import Question
from apl_bench.asking.replies import bad_request, explained_reading
from apl_bench.judgments.index import Entry
from apl_bench.judgments.keys import RequestError, request_key
from apl_bench.judgments.nearest import Nearest
from apl_bench.judgments.record import Record
from apl_bench.oracles.wrappers import BothOrders
from apl_bench.protocols import Oracle
from apl_bench.randomness import keyed_digest, unit_interval
from apl_bench.spec import ORDERS, nearest, require
from apl_bench.types import JSON, Comparison, Pair, Preference, Verdict
from apl_bench.wrapping import Wrapped

ORDER_SALT = "presentation-order/1"
AUDIT_SALT, AUDIT_SHARE = "audit/1", 0.05


class Mode(Enum):
    """What is done about a question.

    `RECORD` asks for what the ledger does not have, and keeps it. `REPLAY` never asks. `REFRESH` asks all again, as a
    new generation beside the old one. `AUDIT` asks a sample of what is there again, compares, and goes by the old
    reply. `OFF` asks all and leaves the ledger alone.
    """

    RECORD = "record"
    REPLAY = "replay"
    REFRESH = "refresh"
    AUDIT = "audit"
    OFF = "off"


@runtime_checkable
class Judgments(Protocol):
    """Records by key, to read."""

    def get_many(self, keys: Sequence[str], generation: int = 0) -> Mapping[str, Record]: ...


@runtime_checkable
class WritableJudgments(Judgments, Protocol):
    """Records by key, to read and write; `add` returns when they are durable, and gives the first writer's of each."""

    def add(self, records: Iterable[Record]) -> Mapping[Entry, Record]: ...


@runtime_checkable
class SearchableJudgments(Judgments, Protocol):
    """Records that know which of them is nearest to what is missing."""

    def nearest(self, request: Mapping[str, JSON]) -> Nearest | None: ...


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
    order; `swapped`: the second was shown first (of several comparisons, in the first of them). `keys` and `records`
    are those of the comparisons behind the verdict, none for identical completions: nobody is asked.
    """

    pair: Pair
    verdict: Verdict
    p_first: float | None
    swapped: bool
    keys: tuple[str, ...]
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Manner:
    """How an oracle is asked: what is done about the ledger, in which order pairs are shown (spec: judging.order), the
    generation that REFRESH and AUDIT write, and whether questions go through a batch API."""

    mode: Mode
    order: str
    generation: int = 0
    batch: bool = False

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise nearest(self.order, "presentation order", ORDERS)
        again = self.mode in (Mode.REFRESH, Mode.AUDIT)
        require((self.generation > 0) == again, "generation", self.generation,
                "1 or more in the modes refresh and audit, else 0")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reasked:
    """A comparison that was asked again: what was read before and now, in shown order."""

    key: str
    before: Verdict
    after: Verdict


def presented(pair: Pair, order: str, salt: str) -> Comparison:
    """The pair in the order in which it is shown.

    `random`, and the first of `both`: one bit of a hash, keyed with `salt`, of the prompt and the two texts without
    their order says whether the lexicographically smaller one comes first. So it is the same in every process, on every
    machine and at every retry, and exchanging the two completions shows the same page. `fixed`: as it is, for tests.
    Raises SpecError for others.
    """
    if order == "fixed":
        return Comparison(pair, swapped=False)
    if order not in ORDERS:
        raise nearest(order, "presentation order", ORDERS)
    smaller, larger = sorted([pair.first.text, pair.second.text])
    bit = bool(keyed_digest(salt, 1, pair.prompt.text, smaller, larger)[0] & 1)
    return Comparison(pair, swapped=(pair.first.text == smaller) != bit)


class Judging:
    """One oracle, asked through one ledger: the only way from a pair to a verdict."""

    def __init__(
        self, source: Oracle | Wrapped, ledger: Judgments, manner: Manner, asking: Asking | None = None
    ) -> None:
        """Raises TypeError for recording into a ledger that has no `add`."""
        if manner.mode is not Mode.REPLAY and not isinstance(ledger, WritableJudgments):
            raise TypeError(f"a {type(ledger).__name__} cannot record: it has no method 'add'; use Mode.REPLAY")
        wrapped = source if isinstance(source, Wrapped) else Wrapped(source)
        both = (BothOrders(),) if manner.order == "both" else ()
        self._source = Wrapped(wrapped.oracle, (*wrapped.wrappers, *both))
        self._ledger = ledger
        self._manner = manner
        self._asking = asking or Asking()
        self._unrecorded: dict[str, Record] = {}  # what OFF was told, for as long as this object lives
        self.reasked: list[Reasked] = []

    @property
    def source(self) -> Wrapped:
        """The oracle with all that stands around it, the two orders of `both` included: by it a verdict's `records`
        are read."""
        return self._source

    def judge(self, pairs: Sequence[Pair]) -> list[Judged]:
        """One verdict for each pair, in order; equal comparisons are asked once, identical completions never.

        Raises MissingJudgment in replay, OracleError for a broken oracle or where it gives no answer, AwaitingLabels,
        CapReachedError; what was answered before that is in the ledger.
        """
        shown = [None if pair.identical else presented(pair, self._manner.order, ORDER_SALT) for pair in pairs]
        asked = [self._questions(comparison) if comparison else [] for comparison in shown]
        records = self._records({question.key: question for questions in asked for question in questions})
        return [
            self._judged(comparison, [question.key for question in questions], records)
            if comparison
            else Judged(pair, Verdict.TIE, None, swapped=False, keys=(), records=())
            for pair, comparison, questions in zip(pairs, shown, asked, strict=True)
        ]

    def _questions(self, comparison: Comparison) -> list[Question]:
        """What the oracle itself is asked for one verdict."""
        oracle = self._source.oracle
        requests = [(leaf, oracle.request(leaf)) for leaf in self._source.leaves(comparison)]
        try:
            return [Question(leaf, request, request_key(request)) for leaf, request in requests]
        except RequestError as error:
            raise bad_request(oracle, error) from None

    def _records(self, questions: Mapping[str, Question]) -> dict[str, Record]:
        """A record for each key, as the mode says."""
        keys, manner = list(questions), self._manner
        if manner.mode is Mode.OFF:
            return self._get_or_ask(questions, self._unrecorded, 0)
        if manner.mode is Mode.REFRESH:
            newest = self._get_or_ask(questions, self._ledger.get_many(keys, manner.generation), manner.generation)
            self._compare(self._ledger.get_many(keys), newest)
            return newest
        known = dict(self._ledger.get_many(keys))
        if manner.mode is Mode.AUDIT:
            sample = {key: questions[key] for key in known if unit_interval(AUDIT_SALT, key) < AUDIT_SHARE}
            again = self._ledger.get_many(list(sample), manner.generation)
            self._compare(known, self._get_or_ask(sample, again, manner.generation))
        return self._get_or_ask(questions, known, 0)

    def _get_or_ask(
        self, questions: Mapping[str, Question], known: Mapping[str, Record], generation: int
    ) -> dict[str, Record]:
        """What is known, and the rest asked and kept; of several writers of a key the first one's record."""
        missing = [question for key, question in questions.items() if key not in known]
        if not missing:
            return dict(known)
        if self._manner.mode is Mode.REPLAY:
            closest = (
                self._ledger.nearest(missing[0].request) if isinstance(self._ledger, SearchableJudgments) else None
            )
            raise MissingJudgment(missing[0].request, len(missing), closest)

        def kept(keys: Sequence[str]) -> Mapping[str, Record]:
            off = self._manner.mode is Mode.OFF
            return self._unrecorded if off else self._ledger.get_many(keys, generation)

        bought: dict[str, Record] = {}
        for group in self._asking.records(self._source.oracle, missing, self._manner.batch, kept):
            bought |= self._keep([replace(record, generation=generation) for record in group])
        elsewhere = [question.key for question in missing if question.key not in bought]
        return {**known, **bought, **(kept(elsewhere) if elsewhere else {})}

    def _keep(self, records: Sequence[Record]) -> dict[str, Record]:
        """The records that stand: where another process asked the same, the first writer's answer is the answer."""
        if self._manner.mode is Mode.OFF:
            found = {record.key: record for record in records}
            self._unrecorded |= found
            return found
        assert isinstance(self._ledger, WritableJudgments)
        return {record.key: record for record in self._ledger.add(records).values()}

    def _compare(self, before: Mapping[str, Record], after: Mapping[str, Record]) -> None:
        """Note what a second asking said of what was asked before."""
        oracle = self._source.oracle
        for key, record in after.items():
            if key in before:
                with explained_reading(oracle, [key]):
                    then, now = oracle.read(before[key].reply), oracle.read(record.reply)
                self.reasked.append(Reasked(key, then.verdict, now.verdict))

    def _judged(self, comparison: Comparison, keys: Sequence[str], records: Mapping[str, Record]) -> Judged:
        behind = [records[key] for key in keys]
        with explained_reading(self._source.oracle, keys):
            reading = self._source.read(comparison, [record.reply for record in behind])
        swapped = comparison.swapped
        p_first = None if reading.p_first is None else 1 - reading.p_first if swapped else reading.p_first
        verdict = reading.verdict.unswap(swapped)
        return Judged(comparison.pair, verdict, p_first, swapped, tuple(keys), tuple(behind))


def preference(pair: Pair, verdict: Verdict, step: int) -> Preference | None:
    """What DPO learns from a verdict in the pair's own order; None for ties and invalid ones: their label is spent."""
    if verdict is Verdict.FIRST:
        return Preference(pair.prompt, pair.first, pair.second, step)
    if verdict is Verdict.SECOND:
        return Preference(pair.prompt, pair.second, pair.first, step)
    return None
