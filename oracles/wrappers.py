"""Around any oracle: noise in its answers (flip, abstain, position_bias), several questions made into one answer
(both_orders, repeat), and the ledger in its place (replay).

Noise is no random draw but one number in [0, 1), a keyed hash of the wrapper's name, its `seed`, the prompt, the two
texts in the order shown, and the repeat. It is the same on every machine, at every retry and in a replay, independent
of every other name, seed, page and repeat; and where a small rate acts, a larger one acts as well. So the same wrapper
twice around one oracle (flip in flip) acts on the same pages twice: give one of them another seed.

Nothing turns an INVALID reading into a vote: what could not be read is still counted.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from apl_bench.oracles.parameters import share, whole
from apl_bench.protocols import Wrapper
from apl_bench.randomness import unit_interval
from apl_bench.types import Comparison, Reading, Verdict

NOISE_SALT = "wrapper-noise/1"
MAX_SEED = 2**53 - 1  # what JSON keeps exactly
MAX_REPEATS = 1000


class NoisyWrapper(Wrapper):
    """Changes a share of the readings, each by itself."""

    name: ClassVar[str]

    def __init__(self, rate: float, seed: int = 0) -> None:
        """`rate`: the share of readings that change, 0 to 1; `seed`: another one, other readings. SpecError."""
        self._rate = share("rate", rate)
        self._seed = whole("seed", seed, 0, MAX_SEED)

    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Reading:
        """What was read, or at the rate what this wrapper makes of it; INVALID stays."""
        (reading,) = readings
        invalid = reading.verdict is Verdict.INVALID
        return reading if invalid or not self.acts(comparison) else self.change(reading)

    def acts(self, comparison: Comparison) -> bool:
        """Whether this comparison's reading changes: for a share `rate` of all, the same at every call."""
        texts = (comparison.pair.prompt.text, *comparison.shown, str(comparison.repeat))
        return unit_interval(NOISE_SALT, self.name, str(self._seed), *texts) < self._rate

    @abstractmethod
    def change(self, reading: Reading) -> Reading:
        """What a valid reading becomes."""


class Flip(NoisyWrapper):
    """Says the opposite: FIRST for SECOND, p_first as 1 - p_first. A tie has no opposite and stays."""

    summary: ClassVar[str] = "says the opposite at a rate; a tie stays"
    name: ClassVar[str] = "flip"

    def change(self, reading: Reading) -> Reading:
        """The opposite."""
        if reading.verdict is Verdict.TIE:
            return reading
        p_first = None if reading.p_first is None else 1 - reading.p_first
        return Reading(reading.verdict.unswap(True), p_first)


class Abstain(NoisyWrapper):
    """Declines to prefer: TIE, without a probability. The label is spent, training learns nothing from it, and
    evaluation counts it as half.

    An annotator who may say "I don't know" (Yan, Chaudhuri & Javidi, "Active Learning from Imperfect Labelers", NIPS
    2016). Not INVALID: that is a reply nobody could read, which above 1 % makes a run unsound.
    """

    summary: ClassVar[str] = "declines to prefer at a rate: a tie, and the label is spent"
    name: ClassVar[str] = "abstain"

    def change(self, reading: Reading) -> Reading:
        """No preference."""
        del reading
        return Reading(Verdict.TIE)


class PositionBias(NoisyWrapper):
    """Says FIRST whatever the texts are, also where it would have been a tie; p_first, where there is one, is 1."""

    summary: ClassVar[str] = "says that the text shown first is better, at a rate"
    name: ClassVar[str] = "position_bias"

    def change(self, reading: Reading) -> Reading:
        """The first."""
        return Reading(Verdict.FIRST, None if reading.p_first is None else 1.0)


class BothOrders(Wrapper):
    """Asks in both orders. Agreement is the verdict; anything else, such as FIRST and TIE, is a TIE; with an INVALID
    answer it is INVALID. p_first is the mean, where both have one."""

    summary: ClassVar[str] = "asks in both orders of presentation; disagreement is a tie"

    def expand(self, comparison: Comparison) -> Sequence[Comparison]:
        """The comparison as shown, then the other way round."""
        return [comparison, comparison.swap()]

    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Reading:
        """The verdict on which both agree, in the order of `comparison`."""
        del comparison
        straight, swapped = readings
        other = swapped.verdict.unswap(True)
        if Verdict.INVALID in (straight.verdict, other):
            return Reading(Verdict.INVALID)
        agreed = straight.verdict if straight.verdict is other else Verdict.TIE
        if straight.p_first is None or swapped.p_first is None:
            return Reading(agreed)
        return Reading(agreed, (straight.p_first + 1 - swapped.p_first) / 2)


class Repeat(Wrapper):
    """Asks `num` times, and goes by the votes for FIRST and SECOND: the more numerous wins, equal numbers are a TIE.

    Ties do not vote. INVALID answers are left out, and where they are more than half the whole is INVALID. p_first is
    the mean of the valid answers' where all of those have one, else their share for FIRST, a tie as half.
    """

    summary: ClassVar[str] = "asks several times and goes by the majority"

    def __init__(self, num: int) -> None:
        """`num`: how often to ask, 1 to 1000; each is a call of its own with its own repeat index. SpecError."""
        self._num = whole("num", num, 1, MAX_REPEATS)

    def expand(self, comparison: Comparison) -> Sequence[Comparison]:
        """The comparison with repeats comparison.repeat * num + 0, ..., num - 1: no two of nested repeats are alike."""
        first = comparison.repeat * self._num
        return [Comparison(comparison.pair, comparison.swapped, first + number) for number in range(self._num)]

    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Reading:
        """The majority of the votes. One answer alone is passed on as it is."""
        del comparison
        if self._num == 1:
            return readings[0]
        valid = [reading for reading in readings if reading.verdict is not Verdict.INVALID]
        if 2 * len(valid) < len(readings):
            return Reading(Verdict.INVALID)
        votes = Counter(reading.verdict for reading in valid)
        lead = votes[Verdict.FIRST] - votes[Verdict.SECOND]
        verdict = Verdict.FIRST if lead > 0 else Verdict.SECOND if lead < 0 else Verdict.TIE
        given = [reading.p_first for reading in valid if reading.p_first is not None]
        if len(given) == len(valid):
            return Reading(verdict, sum(given) / len(given))
        return Reading(verdict, (votes[Verdict.FIRST] + votes[Verdict.TIE] / 2) / len(valid))


class Replay(Wrapper):
    """The ledger alone: the oracle inside is never asked, whatever the mode, and a comparison that nobody recorded
    stops the run. The harness looks for this wrapper; readings go through it as they are."""

    summary: ClassVar[str] = "the ledger alone: never asks, and stops where a judgment is missing"

    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Reading:
        """What was recorded."""
        del comparison
        (reading,) = readings
        return reading
