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

RATIOS = (1.0, 1.1, 1.25, 1.5, 2.0, math.inf)  # longer : shorter; a bin holds its upper end
MIN_VERDICTS = 20
_Z = 1.959963984540054  # normal quantile of 97.5 %
_MAX_ROUNDS, _MAX_LOG_ODDS = 50, 30.0


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
    fitted = _logistic(np.column_stack([np.ones_like(x_N), x_N]), y_N, np.array([place[case.prompt] for case in seen]))
    if fitted is None:
        return "the lengths separate the verdicts, so that no finite coefficient fits"
    slope, error = fitted
    return Measure(_exp(slope), _exp(slope - _Z * error), _exp(slope + _Z * error), len(seen))


def _logistic(x_NK: np.ndarray, y_N: np.ndarray, cluster_N: np.ndarray) -> tuple[float, float] | None:
    """The last coefficient and its standard error, by Newton's method; None where it runs away."""
    coefficients_K = np.zeros(x_NK.shape[1])
    for _ in range(_MAX_ROUNDS):
        p_N = 1 / (1 + np.exp(-np.clip(x_NK @ coefficients_K, -_MAX_LOG_ODDS, _MAX_LOG_ODDS)))
        information_KK = x_NK.T @ (x_NK * (p_N * (1 - p_N))[:, None])
        if np.linalg.cond(information_KK) > 1e12:
            return None
        step_K = np.linalg.solve(information_KK, x_NK.T @ (y_N - p_N))
        coefficients_K = coefficients_K + step_K
        if np.abs(step_K).max() < 1e-10:
            break
    else:
        return None
    if np.abs(x_NK @ coefficients_K).max() > _MAX_LOG_ODDS:
        return None
    scores_CK = np.zeros((cluster_N.max() + 1, x_NK.shape[1]))
    np.add.at(scores_CK, cluster_N, x_NK * (y_N - p_N)[:, None])
    inverse_KK = np.linalg.inv(information_KK)
    num_clusters = len(scores_CK)
    covariance_KK = inverse_KK @ scores_CK.T @ scores_CK @ inverse_KK * num_clusters / (num_clusters - 1)
    return float(coefficients_K[-1]), math.sqrt(covariance_KK[-1, -1])


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


def _longer(cases: Sequence[Seen]) -> Measure:
    won = [case.first_won == (case.first > case.second) for case in cases]
    return clustered_share(won, [case.prompt for case in cases])


def _ratio(case: Seen) -> float:
    shorter, longer = sorted([case.first, case.second])
    return longer / shorter if shorter else math.inf
