"""The plan of a command: what it would ask, pay and take, and what its design can show. Nothing is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from apl_bench.asking.budget import Caps
from apl_bench.asking.prices import Price, is_providers_own, price_of, table_of
from apl_bench.expressions import describe
from apl_bench.judging import Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.planning import texts
from apl_bench.planning.calls import (
    MAX_RECORDS,
    Bill,
    CallTokens,
    Identity,
    Recorded,
    bill,
    call_tokens,
    num_batches,
    recorded_calls,
    seconds_for,
)
from apl_bench.planning.counting import Count, Source, count, known, nothing_asked
from apl_bench.planning.design import Detectable, design
from apl_bench.planning.standing import Standing, look, model_seconds
from apl_bench.planning.units import PARTS, Unit, units
from apl_bench.power import smallest_sign_flip_p
from apl_bench.protocols import BatchOracle, DeferredOracle, Oracle, RemoteOracle
from apl_bench.registry import STRATEGIES
from apl_bench.spec import RunSpec
from apl_bench.types import SpecError


@dataclass(frozen=True)
class Wish:
    """How the command would ask. `latency_s` is what the user says that a call takes, None where they say nothing."""

    mode: Mode = Mode.RECORD
    remote_mode: Mode = Mode.RECORD
    generation: int | None = None
    batch: frozenset[str] = frozenset()
    price: Price | None = None
    concurrency: int = 64
    latency_s: float | None = None
    caps: Caps = field(default_factory=Caps)


@dataclass(frozen=True, slots=True)
class Remote:
    """What a part over a network takes. `price` says where the price is from, or why there is none. `seconds` of the
    expected calls is None where no latency is known, and with `num_batches`, each of which may take a day."""

    call: CallTokens
    bill: Bill
    price: str
    latency_s: float | None
    latency: str
    seconds: float | None
    num_batches: int | None


@dataclass(frozen=True, slots=True)
class PartPlan:
    """What is asked of the oracle or of the judge. `kind`: `local` (computed here), `remote`, `people` or `other`.

    `people` are the answers expected of people, with their votes and with what is asked twice to check them.
    """

    part: str
    oracle: str
    kind: str
    mode: str
    count: Count
    remote: Remote | None
    people: int | None


@dataclass(frozen=True, slots=True)
class Fit:
    """A cap beside what it caps; `within` is `always`, `expected` (it may be reached), `no`, or `unknown`."""

    option: str
    cap: float
    expected: float | None
    at_most: float | None
    within: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is known before anything is asked. `model_seconds`: of the runs still to do, by strategy, None where no
    run of it was measured."""

    name: str
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    num_complete: int
    num_begun: int
    num_prompts: int
    parts: tuple[PartPlan, ...]
    fits: tuple[Fit, ...]
    model_seconds: Mapping[str, float | None]
    design: tuple[Detectable, ...]
    smallest_p: float
    notices: tuple[str, ...]

    def total(self, of: Callable[[Bill], float | None]) -> float | None:
        """A figure of the bills, summed over the parts that need a network; None where one is unknown."""
        return total(self.parts, of)


def plan(specs: Sequence[RunSpec], out: Path, ledger: Ledger | None, wish: Wish) -> Plan:
    """The plan of these runs, which differ in strategy and seed alone. Raises SpecError for what a run would refuse."""
    for spec in specs:
        STRATEGIES.create(spec.strategy.name, spec.strategy.params)
    standing = look(out, specs)
    parts = parts_of(specs, [unit for spec in specs for unit in units(spec)], standing, ledger, wish)
    seeds = tuple(dict.fromkeys(spec.seed for spec in specs))
    runs = [standing.run(spec) for spec in specs]
    return Plan(
        name=f"{specs[0].task.name}-{specs[0].preset}",
        strategies=tuple(dict.fromkeys(spec.strategy.name for spec in specs)),
        seeds=seeds,
        num_complete=sum(run.complete for run in runs if run),
        num_begun=sum(not run.complete for run in runs if run),
        num_prompts=specs[0].evaluation.num_prompts,
        parts=parts,
        fits=tuple(fits(parts, wish.caps)),
        model_seconds=_model_seconds(specs, standing),
        design=tuple(design(specs, standing, len(seeds))),
        smallest_p=smallest_sign_flip_p(len(seeds)),
        notices=(*standing.notices, *(ledger.notices if ledger else ())),
    )


def total(parts: Sequence[PartPlan], of: Callable[[Bill], float | None]) -> float | None:
    """A figure of the bills, summed over the parts that need a network; None where one is unknown."""
    return _sum([of(part.remote.bill) for part in parts if part.remote])


def parts_of(
    specs: Sequence[RunSpec], planned: Sequence[Unit], standing: Standing, ledger: Ledger | None, wish: Wish
) -> tuple[PartPlan, ...]:
    """What these units ask of the oracle and of the judge of these specs."""
    return _Planner(specs, planned, standing, ledger, wish).parts()


@dataclass(frozen=True)
class _Part:
    """An oracle as the planned runs ask it, and how often."""

    name: str
    source: Source
    mode: Mode
    count: Count

    @property
    def oracle(self) -> Oracle:
        return self.source.wrapped.oracle


@dataclass(frozen=True)
class _Planner:
    """The planned runs, what there is of them, and how they would ask."""

    specs: Sequence[RunSpec]
    planned: Sequence[Unit]
    standing: Standing
    ledger: Ledger | None
    wish: Wish

    def parts(self) -> tuple[PartPlan, ...]:
        """What is asked of the oracle and of the judge."""
        spec = self.specs[0]
        plugins = {"oracle": spec.oracle, "judge": spec.judge}
        parts = [self._part(name, Source.of(plugins[name], spec.judging.order)) for name in PARTS]
        remote = self._remote([part for part in parts if part.count.at_most and isinstance(part.oracle, RemoteOracle)])
        return tuple(
            PartPlan(part.name, describe(plugins[part.name]), _kind(part.oracle), part.mode.value, part.count,
                     remote.get(part.name), _people(part.oracle, part.count))
            for part in parts
        )  # fmt: skip

    def _part(self, name: str, source: Source) -> _Part:
        oracle, wish = source.wrapped.oracle, self.wish
        mode = wish.mode if oracle.local else wish.remote_mode
        planned = [unit for unit in self.planned if unit.part == name]
        counted = count(source, planned, self.standing, known(mode, wish.generation, self._find))
        if mode is Mode.REPLAY:
            return _Part(name, source, mode, nothing_asked(counted))
        if counted.at_most and name in wish.batch and not isinstance(oracle, BatchOracle):
            raise SpecError(f"{type(oracle).__name__} has no batch API; expected one that has it, such as openai or "
                            f"anthropic, as the {name}, or another --batch")  # fmt: skip
        return _Part(name, source, mode, counted)

    def _find(self, keys: Sequence[str], generation: int) -> set[str]:
        return set(self.ledger.get_many(keys, generation)) if self.ledger else set()

    def _remote(self, parts: Sequence[_Part]) -> dict[str, Remote]:
        """What the parts over a network take; loads the task's prompts, where there are any."""
        if not parts:
            return {}
        by_part = texts.load(self.specs[0], self.standing)
        identities = {part.name: Identity.of(part.source) for part in parts}
        found = recorded_calls(islice(self.ledger.records(), MAX_RECORDS) if self.ledger else (), identities)
        calls = {part.name: call_tokens(part.source, by_part[part.name], found[part.name]) for part in parts}
        return {part.name: self._of(part, identities[part.name], calls[part.name], found[part.name]) for part in parts}

    def _of(self, part: _Part, identity: Identity, call: CallTokens, found: Recorded) -> Remote:
        in_batches = part.name in self.wish.batch
        price, said = price_for(identity, self.wish.price)
        if price and in_batches:
            price, said = price.in_batches(), f"{said}; {price.batch_share:.0%} of that through the batch API"
        charged = bill(call, part.count.expected, part.count.at_most, price)
        latency_s, latency = self._latency(found)
        if in_batches:
            assert isinstance(part.oracle, BatchOracle)
            batches = num_batches(part.count.rounds, part.oracle.max_batch)
            return Remote(call, charged, said, latency_s, latency, None, batches)
        known_s = latency_s is not None
        seconds = seconds_for(part.count.rounds, self.wish.concurrency, latency_s or 0.0) if known_s else None
        return Remote(call, charged, said, latency_s, latency, seconds, None)

    def _latency(self, found: Recorded) -> tuple[float | None, str]:
        """Seconds of a call, and where the figure is from."""
        if self.wish.latency_s is not None:
            return self.wish.latency_s, "--latency"
        if found.latency_s is not None:
            return found.latency_s, f"mean of {found.num_timed} recorded calls"
        return None, "unknown: no call of this model is recorded; give --latency SECONDS"


def _kind(oracle: Oracle) -> str:
    if oracle.local:
        return "local"
    return "remote" if isinstance(oracle, RemoteOracle) else "people" if isinstance(oracle, DeferredOracle) else "other"


def _people(oracle: Oracle, counted: Count) -> int | None:
    """Answers that people give: as many votes as are asked for, and the hidden repeats and swaps."""
    if not isinstance(oracle, DeferredOracle):
        return None
    said = oracle.identity()
    votes, repeats, swaps = (_number(said.get(name)) for name in ("votes", "repeats", "swaps"))
    return round(counted.expected * ((votes or 1) + repeats + swaps))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def price_for(identity: Identity, given: Price | None) -> tuple[Price | None, str]:
    """The price of a model, and where it is from or why there is none."""
    provider, model = str(identity.fields.get("provider")), str(identity.fields.get("model"))
    price = given or price_of(identity.fields)
    if price:
        return price, price.source
    table = table_of(provider)
    if table is None:
        where = f"there is no price table of {provider!r}"
    elif is_providers_own(identity.fields):
        where = f"the price table ({table}) has no {model!r}"
    else:
        where = f"the price table ({table}) is of {provider} itself, and not of other servers"
    return None, f"unknown: {where}; give --price INPUT:OUTPUT, dollars a million tokens"


def fits(parts: Sequence[PartPlan], caps: Caps) -> Iterator[Fit]:
    """Each cap that was given, beside all that it caps."""
    remote = [(part.count, part.remote.bill) for part in parts if part.remote]
    figures = (
        ("--max-calls", caps.calls, [(counted.expected, counted.at_most) for counted, _ in remote]),
        ("--max-tokens", caps.tokens, [(charged.tokens_expected, charged.tokens_at_most) for _, charged in remote]),
        ("--max-cost", caps.cost_usd, [(charged.usd_expected, charged.usd_at_most) for _, charged in remote]),
    )
    for option, cap, pairs in figures:
        if cap is not None:
            expected, at_most = _sum([pair[0] for pair in pairs]), _sum([pair[1] for pair in pairs])
            yield Fit(option, cap, expected, at_most, _within(cap, expected, at_most))


def _sum(values: Sequence[float | None]) -> float | None:
    return None if any(value is None for value in values) else sum(value or 0 for value in values)


def _within(cap: float, expected: float | None, at_most: float | None) -> str:
    if expected is None or at_most is None:
        return "unknown"
    return "always" if at_most <= cap else "expected" if expected <= cap else "no"


def _model_seconds(specs: Sequence[RunSpec], standing: Standing) -> dict[str, float | None]:
    """Seconds of the policy for the runs that are not complete, by strategy: as long as complete runs like them took,
    less what has been spent."""
    left: dict[str, float | None] = {}
    for spec in specs:
        name, run = spec.strategy.name, standing.run(spec)
        whole, before = standing.seconds.get(name), left.setdefault(name, 0.0)
        if run and run.complete:
            continue
        done = model_seconds(run) if run else 0.0
        left[name] = None if whole is None or before is None else before + max(0.0, whole - done)
    return left
