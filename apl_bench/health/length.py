"""Whether a judge prefers the longer text. Lengths are characters of what is shown, white space around it left out.

A preference for length is no fault by itself: longer texts may be better. What it says is how much of a win rate
length alone could buy. So it is shown beside the lengths: within bins of their ratio, and as one coefficient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from apl_bench.annotation.agreement import Measure
from apl_bench.health.intervals import clustered_share
from apl_bench.statistics.logistic import logistic

RATIOS = (1.0, 1.1, 1.25, 1.5, 2.0, math.inf)  # longer : shorter; a bin holds its upper end
MIN_VERDICTS = 20
_Z = 1.959963984540054  # normal quantile of 97.5 %


@dataclass(frozen=True, slots=True)
class Seen:
    """A decided verdict: characters of the text shown first and second, whether the first won, and the prompt."""

    first: int
    second: int
    first_won: bool
    prompt: str


@dataclass(frozen=True, slots=True)
class Bin:
    """Verdicts on texts whose lengths have a ratio above `above` and up to `up_to` (infinite at the end)."""

    above: float
    up_to: float
    longer: Measure


@dataclass(frozen=True, slots=True)
class Length:
    """`longer`: share of decided verdicts for the longer text; `bins`: the same by ratio of the lengths.

    `odds`: the factor by which the odds of a text change when it is twice as long as the other, None where the data do
    not give it, for the reason in `why`.
    """

    longer: Measure
    bins: tuple[Bin, ...]
    odds: Measure | None
    why: str = ""


def length_preference(seen: Sequence[Seen]) -> Length:
    """From decided verdicts, at least one of them on texts of different length."""
    unequal = [case for case in seen if case.first != case.second]
    bins = [
        Bin(above, up_to, _longer(cases))
        for above, up_to in pairwise(RATIOS)
        if (cases := [case for case in unequal if above < _ratio(case) <= up_to])
    ]
    odds = doubling_odds(seen)
    return Length(_longer(unequal), tuple(bins), *((None, odds) if isinstance(odds, str) else (odds, "")))


def doubling_odds(seen: Sequence[Seen]) -> Measure | str:
    """e^b of the logistic regression  logit P(first shown wins) = a + b * log2 of the ratio of the lengths.

    `a` takes up what the place does. The interval is Wald's, on standard errors clustered by prompt. The reason instead
    where there are fewer than 20 verdicts, one prompt, or lengths that separate the verdicts (b is then infinite).
    """
    prompts = sorted({case.prompt for case in seen})
    if len(seen) < MIN_VERDICTS or len(prompts) < 2:
        return (f"it takes {MIN_VERDICTS} decided verdicts on two prompts or more, and there are {len(seen)} "
                f"on {len(prompts)}")  # fmt: skip
    # One more character on both sides, so that an empty text has a ratio.
    x_N = np.log2([(case.first + 1) / (case.second + 1) for case in seen])
    y_N = np.array([case.first_won for case in seen], dtype=float)
    if np.ptp(x_N) == 0 or np.ptp(y_N) == 0:
        return "all ratios of lengths are the same, or all verdicts name the same place"
    place = {prompt: number for number, prompt in enumerate(prompts)}
    clusters_N = np.array([place[case.prompt] for case in seen])
    fitted = logistic(np.column_stack([np.ones_like(x_N), x_N]), y_N, (clusters_N,))
    if fitted is None:
        return "the lengths separate the verdicts, so that no finite coefficient fits"
    slope, error = fitted.coefficient_K[-1], fitted.error_K[-1]
    return Measure(_exp(slope), _exp(slope - _Z * error), _exp(slope + _Z * error), len(seen))


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


def _longer(cases: Sequence[Seen]) -> Measure:
    won = [case.first_won == (case.first > case.second) for case in cases]
    return clustered_share(won, [case.prompt for case in cases])


def _ratio(case: Seen) -> float:
    shorter, longer = sorted([case.first, case.second])
    return longer / shorter if shorter else math.inf
