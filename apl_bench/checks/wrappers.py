"""check_wrapper: does it ask about the pair it was given, combine any readings, and mean the page whatever is whose?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product

from apl_bench.checks.findings import fresh, run_stages
from apl_bench.contract import Finding
from apl_bench.protocols import Wrapper
from apl_bench.types import Comparison, Completion, Pair, Prompt, Reading, Verdict

NUM_PAIRS = 24
MAX_ASKED = 10_000
_READINGS = (
    Reading(Verdict.FIRST, 0.75),
    Reading(Verdict.SECOND, 0.125),
    Reading(Verdict.TIE, 0.5),
    Reading(Verdict.INVALID),
    Reading(Verdict.FIRST),
    Reading(Verdict.SECOND),
    Reading(Verdict.TIE),
)
_MAX_COMBINATIONS = 60


class _Trial:
    """A maker of new wrappers, and one of them."""

    def __init__(self, make: Callable[[], Wrapper]) -> None:
        self.make = make
        self.wrapper = make()


def check_wrapper(wrapper: Wrapper | Callable[[], Wrapper]) -> list[Finding]:
    """What is wrong with a wrapper (an instance or a factory); it is given made-up readings, and no oracle."""
    return run_stages(_Trial(fresh(wrapper)), _STAGES)


def _comparisons() -> list[Comparison]:
    return [
        Comparison(_pair(number), swapped, repeat)
        for number in range(NUM_PAIRS)
        for swapped in (False, True)
        for repeat in (0, 1)
    ]


def _pair(number: int) -> Pair:
    sides = (Completion(f" {word} number {number}", (number,), finished=True) for word in ("good", "bad"))
    return Pair(Prompt(f"check-{number}", f"Film {number} was"), *sides)


def _exchanged(comparison: Comparison) -> Comparison:
    """The same page, of the pair whose completions changed places."""
    pair = comparison.pair
    return Comparison(Pair(pair.prompt, pair.second, pair.first), not comparison.swapped, comparison.repeat)


def _combinations(num: int) -> Iterator[tuple[Reading, ...]]:
    """Readings of `num` comparisons: all alike of each kind, then mixed ones."""
    yield from ((reading,) * num for reading in _READINGS)
    mixed = product(_READINGS, repeat=min(num, 3))
    for few in islice(mixed, 0, None, max(1, len(_READINGS) ** min(num, 3) // _MAX_COMBINATIONS)):
        yield tuple(few[place % len(few)] for place in range(num))


def _declarations(trial: _Trial) -> Iterator[Finding]:
    if not getattr(trial.wrapper, "summary", ""):
        yield Finding("declaration", "summary is missing", "give it one line for `apl-bench list wrappers`")


def _expansions(trial: _Trial) -> Iterator[Finding]:
    for comparison in _comparisons():
        asked = list(islice(trial.wrapper.expand(comparison), MAX_ASKED + 1))
        if not asked or len(asked) > MAX_ASKED or not all(isinstance(item, Comparison) for item in asked):
            seen = f"expand gave {len(asked)} items of {sorted({type(item).__name__ for item in asked})}"
            yield Finding("expand", seen, f"return from 1 to {MAX_ASKED} comparisons: comparison.swap(), other repeats")
            return
        if any(item.pair != comparison.pair for item in asked):
            seen = "expand asks about another pair than the one it was given"
            yield Finding("expand-pair", seen, "change only the order and the repeat: the verdict is about this pair")
        if list(trial.make().expand(comparison)) != asked:
            seen = "the same comparison was expanded in two ways"
            yield Finding("expand-stable", seen, "make it a function of the comparison: a replay expands it again")


def _combined(trial: _Trial) -> Iterator[Finding]:
    for comparison in _comparisons():
        for readings in _combinations(len(trial.wrapper.expand(comparison))):
            combined = trial.wrapper.combine(comparison, readings)
            if not isinstance(combined, Reading) or not isinstance(combined.verdict, Verdict):
                seen = f"combine gave {combined!r}"
                yield Finding("combine", seen, "return a Reading: one verdict, in the shown order of the comparison")
                return
            if combined.p_first is not None and not 0 <= combined.p_first <= 1:
                seen = f"p_first is {combined.p_first}"
                yield Finding("p-first", seen, "give the probability of FIRST, in [0, 1], or None")


def _failures(trial: _Trial) -> Iterator[Finding]:
    for comparison in _comparisons():
        unread = [Reading(Verdict.INVALID)] * len(trial.wrapper.expand(comparison))
        verdict = trial.wrapper.combine(comparison, unread).verdict
        if verdict is not Verdict.INVALID:
            seen = f"replies of which none could be read came to {verdict.value}"
            yield Finding("invalid", seen, "return Verdict.INVALID for them: a failure never becomes a label")


def _repeatability(trial: _Trial) -> Iterator[Finding]:
    for comparison, readings in _cases(trial.wrapper, _comparisons()):
        if trial.make().combine(comparison, readings) != trial.wrapper.combine(comparison, readings):
            seen = "the same readings of the same comparison were combined in two ways"
            yield Finding("combine-stable", seen, "draw noise from randomness.unit_interval of the texts and a seed")
            return


def _exchange(trial: _Trial) -> Iterator[Finding]:
    for comparison, readings in _cases(trial.wrapper, _comparisons()):
        other = _exchanged(comparison)
        pages = [[(item.shown, item.repeat) for item in trial.wrapper.expand(each)] for each in (comparison, other)]
        same = pages[0] == pages[1]
        if not same or trial.wrapper.combine(comparison, readings) != trial.wrapper.combine(other, readings):
            seen = "one page got two answers when the pair's completions were called the other way round"
            yield Finding("exchange", seen, "go by comparison.shown, never by comparison.swapped or the pair's order")
            return


def _cases(
    wrapper: Wrapper, comparisons: Sequence[Comparison]
) -> Iterator[tuple[Comparison, tuple[Reading, ...]]]:  # fmt: skip
    for comparison in comparisons:
        for readings in _combinations(len(wrapper.expand(comparison))):
            yield comparison, readings


_STAGES = ((_declarations,), (_expansions,), (_combined,), (_failures, _repeatability, _exchange))
