"""How judgments went: counts, because a rate can be recomputed from counts and counts cannot from a rate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from apl_bench.types import Verdict

MAX_INVALID_SHARE = 0.01  # above it a run is unsound


def win_rate_error(wins: int, losses: int, ties: int) -> float:
    """Standard error of one run's win rate over its test prompts (a tie is half), for a run taken alone."""
    num = wins + losses + ties
    if num < 2:
        return math.nan
    rate = (wins + ties / 2) / num
    square = (wins + ties / 4) / num - rate**2
    return math.sqrt(square / (num - 1))


@dataclass(frozen=True, slots=True)
class WinRate:
    """Share of comparisons that the pair's first won, a tie being half: among valid verdicts, and over all of them with
    every invalid one counted as lost (`worst`) and as won (`best`)."""

    rate: float
    worst: float
    best: float


@dataclass(frozen=True, slots=True)
class Tally:
    """How judgments went for the first of each pair, and how often the one *shown* first won."""

    wins: int
    losses: int
    ties: int
    invalid: int
    first_shown_wins: int

    @classmethod
    def of(cls, judged: Iterable[tuple[Verdict, bool]]) -> Self:
        """Count verdicts in the pair's own order, each with whether the pair was shown swapped."""
        verdicts = list(judged)
        own = Counter(verdict for verdict, _ in verdicts)
        return cls(
            wins=own[Verdict.FIRST],
            losses=own[Verdict.SECOND],
            ties=own[Verdict.TIE],
            invalid=own[Verdict.INVALID],
            first_shown_wins=sum(verdict.unswap(swapped) is Verdict.FIRST for verdict, swapped in verdicts),
        )

    @property
    def total(self) -> int:
        """Number of pairs, invalid ones included: what was spent."""
        return self.wins + self.losses + self.ties + self.invalid

    @property
    def sound(self) -> bool:
        """False where more than 1 % of the verdicts could not be read."""
        return self.invalid <= MAX_INVALID_SHARE * self.total

    def win_rate(self) -> WinRate | None:
        """Win rate with its bounds; None where no verdict is valid, since there is no rate then."""
        points, valid = self.wins + self.ties / 2, self.total - self.invalid
        if valid == 0:
            return None
        return WinRate(points / valid, worst=points / self.total, best=(points + self.invalid) / self.total)
