"""What an experiment can show before it is run: the power of a t-test of paired differences, from its design alone.

n seeds give n paired differences with standard deviation `sd`. Under a true difference d their t-statistic follows the
noncentral t distribution with n - 1 degrees of freedom and noncentrality d * sqrt(n) / sd. Two-sided throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

ALPHA, POWER = 0.05, 0.8
MAX_SEEDS = 10_000
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(400)
_SPAN = 12.0  # standard deviations of a chi around its mean, outside of which there is nothing left in double precision
_MAX_STEPS = 200


def noncentral_t_cdf(t: float, df: int, noncentrality: float) -> float:
    """P(T <= t) for T = (Z + noncentrality) / s, Z standard normal, s^2 chi-squared with df degrees of freedom over df.

    By Gauss-Legendre quadrature over s; agrees with exact values to 1e-10.
    """
    middle, half = 1.0, _SPAN / math.sqrt(2 * df)
    low, high = max(0.0, middle - half), middle + half
    s = (high - low) / 2 * _NODES + (high + low) / 2
    log_density = (math.log(2) + df / 2 * math.log(df / 2) - math.lgamma(df / 2)
                   + (df - 1) * np.log(s) - df / 2 * s**2)  # fmt: skip
    normal = np.array([_normal_cdf(t * value - noncentrality) for value in s.tolist()])
    return float((high - low) / 2 * (_WEIGHTS * np.exp(log_density) * normal).sum())


@cache
def critical_t(df: int, alpha: float = ALPHA) -> float:
    """The |t| from which a two-sided test rejects."""
    high = 1.0
    while noncentral_t_cdf(high, df, 0.0) < 1 - alpha / 2:
        high *= 2
    return _root(lambda t: noncentral_t_cdf(t, df, 0.0) - (1 - alpha / 2), 0.0, high)


def power(num_seeds: int, difference: float, sd: float, alpha: float = ALPHA) -> float:
    """The probability that the test rejects, where the true difference is this one; 0 for fewer than two seeds."""
    if num_seeds < 2:
        return 0.0
    if sd == 0:
        return float(difference != 0)
    df, critical = num_seeds - 1, critical_t(num_seeds - 1, alpha)
    noncentrality = abs(difference) * math.sqrt(num_seeds) / sd
    above = 1 - noncentral_t_cdf(critical, df, noncentrality)
    return above + noncentral_t_cdf(-critical, df, noncentrality)


def detectable_difference(num_seeds: int, sd: float, alpha: float = ALPHA, wanted: float = POWER) -> float | None:
    """The smallest true difference that is found with probability `wanted`; None for fewer than two seeds."""
    if num_seeds < 2:
        return None
    if sd == 0:
        return 0.0
    high = sd
    while power(num_seeds, high, sd, alpha) < wanted:
        high *= 2
    return _root(lambda difference: power(num_seeds, difference, sd, alpha) - wanted, 0.0, high)


def seeds_needed(difference: float, sd: float, alpha: float = ALPHA, wanted: float = POWER) -> int | None:
    """The fewest seeds that find this difference with probability `wanted`, and of which the exact sign-flip test can
    be significant at all; None above MAX_SEEDS."""
    low = fewest_for_sign_flips(alpha)
    if power(low, difference, sd, alpha) >= wanted:
        return low
    high = low
    while power(high, difference, sd, alpha) < wanted:
        low, high = high, 2 * high
        if low >= MAX_SEEDS:
            return None
    while high - low > 1:
        between = (low + high) // 2
        low, high = (between, high) if power(between, difference, sd, alpha) < wanted else (low, between)
    return high if high <= MAX_SEEDS else None


def smallest_sign_flip_p(num_seeds: int) -> float:
    """The smallest two-sided p-value that flipping the signs of n differences can give: 2 / 2^n."""
    return min(1.0, 2.0 ** (1 - num_seeds))


def fewest_for_sign_flips(alpha: float = ALPHA) -> int:
    """The fewest seeds with which a sign-flip test can be significant: 6 at .05."""
    num = 1
    while smallest_sign_flip_p(num) > alpha:
        num += 1
    return num


def prompts_sd(win_rate: float, num_prompts: int) -> float:
    """sd of a seed's difference of two strategies from the luck of the test prompts alone: sqrt(2 p (1 - p) / m), for
    two equal win rates p whose outcomes on a prompt are independent."""
    return math.sqrt(2 * win_rate * (1 - win_rate) / num_prompts)


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where an increasing function is 0, between these."""
    for _ in range(_MAX_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
        if high - low <= 1e-12 * max(1.0, abs(high)):
            break
    return (low + high) / 2
