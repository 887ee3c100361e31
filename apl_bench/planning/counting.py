"""How many answers a part still needs: exactly where that is known beforehand, else at most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from apl_bench.judging import ORDER_SALT, Mode, presented
from apl_bench.judgments.keys import request_key
from apl_bench.oracles.wrappers import BothOrders
from apl_bench.planning.standing import Standing
from apl_bench.planning.units import Share, Unit
from apl_bench.spec import PluginSpec
from apl_bench.types import Completion, Pair, Prompt
from apl_bench.wrapping import Wrapped, create_oracle

EXAMPLES = tuple(
    Pair(Prompt(name, text), Completion(f" {name}", (1,), finished=True), Completion(" no", (2,), finished=True))
    for name, text in (("one", "It was"), ("two", "It is"))
)
NUM_PROBED = 32


@dataclass(frozen=True, slots=True)
class Count:
    """What a part is asked. `verdicts` = `recorded` in the planned runs + `shared` with another planned run + those to
    ask for; answers are what the oracle itself gives, `answers_per_verdict` of them behind each verdict.

    `in_ledger` are answers known to be there, or not needed as the texts are identical. What else the ledger holds
    cannot be known while the texts are not there: so `at_most`. `expected` leaves out what is asked once where training
    repeats to the digit. `rounds` are the expected answers that can be asked for at once, one round after the other.
    """

    verdicts: int
    recorded: int
    shared: int
    answers_per_verdict: int
    in_ledger: int
    at_most: int
    expected: int
    rounds: tuple[int, ...]


@dataclass
class _Sum:
    recorded: int = 0
    shared: int = 0
    in_ledger: int = 0
    at_most: int = 0
    expected: int = 0
    rounds: list[int] = field(default_factory=list)

    def add(self, at_most: int, expected: int) -> None:
        self.at_most += at_most
        self.expected += expected
        if expected:
            self.rounds.append(expected)


@dataclass(frozen=True)
class Source:
    """An oracle as a run asks it: with its wrappers, in the spec's order of presentation."""

    wrapped: Wrapped
    order: str

    @classmethod
    def of(cls, plugin: PluginSpec, order: str) -> Source:
        """Raises SpecError where the oracle cannot be made."""
        wrapped = create_oracle(plugin)
        both = (BothOrders(),) if order == "both" else ()
        return cls(Wrapped(wrapped.oracle, (*wrapped.wrappers, *both)), order)

    def keys(self, pairs: Iterable[Pair]) -> list[str]:
        """The keys of all that is asked about these pairs, each once; nothing is asked about identical texts."""
        shown = (presented(pair, self.order, ORDER_SALT) for pair in pairs if not pair.identical)
        leaves = (leaf for comparison in shown for leaf in self.wrapped.leaves(comparison))
        return list(dict.fromkeys(request_key(self.wrapped.oracle.request(leaf)) for leaf in leaves))

    @property
    def answers_per_verdict(self) -> int:
        """How many different questions stand behind one verdict."""
        return len(self.keys(EXAMPLES[:1]))


@dataclass(frozen=True)
class Known:
    """What the ledger is known to hold. `shares_work`: an answer that one run gets serves the others.

    `find` says which keys are there.
    """

    shares_work: bool
    find: Callable[[Sequence[str]], set[str]]


def known(mode: Mode, generation: int | None, find: Callable[[Sequence[str], int], set[str]]) -> Known:
    """By what a mode does about the ledger: OFF leaves it alone, and REFRESH asks anew in each command, unless they go
    on with one `generation`."""
    if mode is Mode.OFF or (mode is Mode.REFRESH and generation is None):
        return Known(False, lambda _keys: set())
    looked_in = (generation or 0) if mode is Mode.REFRESH else 0
    return Known(True, lambda keys: find(keys, looked_in))


def count(source: Source, planned: Sequence[Unit], standing: Standing, ledger: Known) -> Count:
    """What a part is asked for, given the units of all planned runs that ask it."""
    each, total, met = source.answers_per_verdict, _Sum(), set[Share]()
    for unit in planned:
        whole = unit.num_verdicts * each
        if unit in standing.recorded:
            total.recorded += unit.num_verdicts
        elif not ledger.shares_work:
            total.add(whole, whole)
        elif unit.share in met:
            total.shared += unit.num_verdicts if unit.certain else 0
            total.add(0 if unit.certain else whole, 0)
        else:
            met.add(unit.share)
            missing = _missing(source, unit, standing, ledger)
            total.in_ledger += whole - missing if unit.certain else 0
            total.add(missing if unit.certain else whole, missing)
    verdicts = sum(unit.num_verdicts for unit in planned)
    return Count(verdicts, total.recorded, total.shared, each, total.in_ledger, total.at_most, total.expected,
                 tuple(total.rounds))  # fmt: skip


def nothing_asked(counted: Count) -> Count:
    """The same in a replay: what is not recorded stops it."""
    return Count(counted.verdicts, counted.recorded, counted.shared, counted.answers_per_verdict,
                 counted.in_ledger, 0, 0, ())  # fmt: skip


def _missing(source: Source, unit: Unit, standing: Standing, ledger: Known) -> int:
    """Answers that a unit needs: those that the ledger lacks, where another run recorded its pairs; else all.

    Where the pairs are not certain the ledger is asked for all of them only if it has one of the first.
    """
    if unit.share not in standing.shares:
        return unit.num_verdicts * source.answers_per_verdict
    pairs = standing.pairs(unit.share)
    if not (unit.certain or ledger.find(source.keys(pairs[:NUM_PROBED]))):
        return unit.num_verdicts * source.answers_per_verdict
    keys = source.keys(pairs)
    return len(keys) - len(ledger.find(keys))
