"""Which of the paper's differences from random hold up, from the means and errors that it prints and nothing else.

What it prints leaves two things open. Whether the seeds of two strategies are paired is not said, so they are taken as
independent (Welch 1947). And an error over seeds does not hold the luck of the 1,024 test prompts that all seeds share,
which in a difference of two strategies may cancel or may not. So each difference is tested with the errors as printed,
which is right for *these prompts*, and with ever more luck of the prompts, up to as much as a share can have, p (1 - p)
/ 1024 for each of the two, which is right for *any prompts* whatever the unpublished verdicts are, as long as those of
the two strategies on a prompt are not opposed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from scipy import stats

from apl_bench.paper.published import PublishedDifference
from apl_bench.power import detectable_by_error
from apl_bench.statistics import ALPHA, holm
from apl_bench.statistics.estimates import satterthwaite, t_interval


@dataclass(frozen=True, slots=True)
class Test:
    """A t-test of a difference: its error, degrees of freedom, 95 % interval, p-value, and Holm's over the differences
    of the task and over those of all tasks."""

    error: float
    df: float
    interval: tuple[float, float]
    p: float
    p_task: float = math.nan
    p_all: float = math.nan


@dataclass(frozen=True, slots=True)
class Finding:
    """A published difference with both tests, and the smallest one that the printed errors could have found.

    `holds_to` is the largest share of the verdicts' variance that may be the prompts' own, and not cancel between the
    strategies, with the difference still significant after Holm's correction in its task; None where it never is.
    """

    published: PublishedDifference
    difference: float
    these_prompts: Test
    any_prompts: Test
    detectable: float
    holds_to: float | None

    @property
    def verdict(self) -> str:
        """In words, after Holm's correction over the task's differences."""
        if self.any_prompts.p_task <= ALPHA:
            return "holds up"
        if self.these_prompts.p_task <= ALPHA:
            return "on these prompts"
        return "not shown" if self.these_prompts.p > ALPHA else "not after Holm"


def findings(differences: Sequence[PublishedDifference]) -> list[Finding]:
    """In the same order, each corrected for all of them, and for those of its own task."""
    at = cache(lambda percent: _tests(differences, percent / 100))
    return [_finding(one, [at(0)[place], at(100)[place]], partial(_p_task, at, place))
            for place, one in enumerate(differences)]  # fmt: skip


def _finding(one: PublishedDifference, ends: Sequence[Test], p_task: Callable[[int], float]) -> Finding:
    these, anywhere = ends
    difference, detectable = one.ours.mean - one.baseline.mean, detectable_by_error(these.error, these.df)
    return Finding(one, difference, these, anywhere, detectable, _holds_to(p_task))


def _p_task(at: Callable[[int], Sequence[Test]], place: int, percent: int) -> float:
    return at(percent)[place].p_task


def _holds_to(p_task: Callable[[int], float]) -> float | None:
    """The largest share, in whole percent, at which the difference is significant; p grows with the share."""
    if p_task(0) > ALPHA:
        return None
    return (bisect_right(range(101), ALPHA, key=p_task) - 1) / 100


def _tests(differences: Sequence[PublishedDifference], share: float) -> list[Test]:
    """With this share of p (1 - p) as the variance of the prompts."""
    return _corrected(differences, [_with_prompts(one, share) for one in differences])


def _with_prompts(one: PublishedDifference, share: float) -> Test:
    cells = (one.ours, one.baseline)
    prompts = [share * cell.binomial_variance / cell.num_prompts for cell in cells]
    terms = [cell.se_seeds**2 for cell in cells] + prompts
    return _test(one, terms, [cell.num_seeds - 1 for cell in cells] + [cell.num_prompts - 1 for cell in cells])


def _test(one: PublishedDifference, terms: Sequence[float], dfs: Sequence[int]) -> Test:
    difference, variance = one.ours.mean - one.baseline.mean, math.fsum(terms)
    error, df = math.sqrt(variance), satterthwaite(variance, terms, dfs)
    return Test(error, df, t_interval(difference, error, df), float(2 * stats.t.sf(abs(difference) / error, df)))


def _corrected(differences: Sequence[PublishedDifference], tests: Sequence[Test]) -> list[Test]:
    tasks = dict.fromkeys(one.task for one in differences)
    by_task: dict[int, float] = {}
    for task in tasks:
        places = [place for place, one in enumerate(differences) if one.task == task]
        by_task.update(zip(places, holm([tests[place].p for place in places]), strict=True))
    over_all = holm([test.p for test in tests])
    return [
        replace(test, p_task=by_task[place], p_all=p_all)
        for place, (test, p_all) in enumerate(zip(tests, over_all, strict=True))
    ]
