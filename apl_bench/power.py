"""What an experiment can show before it is run: the power of a t-test of paired differences, from its design alone.

n seeds give n paired differences with standard deviation `sd`. Under a true difference d their t-statistic follows the
noncentral t distribution with n - 1 degrees of freedom and noncentrality d * sqrt(n) / sd. Two-sided throughout.
"""

from __future__ import annotations

import math

from scipy import optimize, stats

ALPHA, POWER = 0.05, 0.8
MAX_SEEDS = 10_000


def critical_t(df: float, alpha: float = ALPHA) -> float:
    """The |t| from which a two-sided test rejects."""
    return float(stats.t.isf(alpha / 2, df))


def power(num_seeds: int, difference: float, sd: float, alpha: float = ALPHA) -> float:
    """The probability that the test rejects, where the true difference is this one; 0 for fewer than two seeds."""
    return power_of_error(difference, sd / math.sqrt(num_seeds), num_seeds - 1, alpha) if num_seeds > 1 else 0.0


def power_of_error(difference: float, error: float, df: float, alpha: float = ALPHA) -> float:
    """The same of any t-test, from the standard error of its difference and its degrees of freedom."""
    if error == 0:
        return float(difference != 0)
    critical, noncentrality = critical_t(df, alpha), abs(difference) / error
    # The lower tail as the upper one of the mirrored distribution: there scipy's nct.cdf gives NaN.
    return float(stats.nct.sf(critical, df, noncentrality) + stats.nct.sf(critical, df, -noncentrality))


def detectable_difference(num_seeds: int, sd: float, alpha: float = ALPHA, wanted: float = POWER) -> float | None:
    """The smallest true difference that is found with probability `wanted`; None for fewer than two seeds."""
    if num_seeds < 2:
        return None
    return detectable_by_error(sd / math.sqrt(num_seeds), num_seeds - 1, alpha, wanted)


def detectable_by_error(error: float, df: float, alpha: float = ALPHA, wanted: float = POWER) -> float:
    """The same of any t-test, from the standard error of its difference and its degrees of freedom."""
    if error == 0:
        return 0.0
    high = error
    while power_of_error(high, error, df, alpha) < wanted:
        high *= 2
    return float(optimize.brentq(lambda found: power_of_error(found, error, df, alpha) - wanted, 0.0, high, rtol=1e-12))


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
    """The smallest two-sided p-value that flipping the signs of n differences can give: 2 / 2^n.

    From 17 seeds on, where flips are drawn at random (statistics/sign_flips.py), the least is about 2e-5 instead.
    """
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
