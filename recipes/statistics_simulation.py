"""What the intervals and tests of docs/statistics.md are worth, by simulation: the tables that stand there.

    python recipes/statistics_simulation.py            (a few minutes on one thread)
    python recipes/statistics_simulation.py --quick    (a tenth of the repetitions)

Every table is drawn from its own seed, so each can be made alone (--only coverage). The error of a share from n
repetitions is at most sqrt(0.25 / n), and .007 for shares near 95 % from 1,000.
"""

from __future__ import annotations

import argparse
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy import stats

from apl_bench.cli.console import table
from apl_bench.statistics import estimate, holm, paired_difference, seed_means, sign_flip_p
from apl_bench.statistics.estimates import Estimate, t_interval
from apl_bench.statistics.labels import crossing, efficiency
from apl_bench.statistics.ranks import rank_intervals, t_test_p
from apl_bench.statistics.simulation import Luck, outcomes

NUM_PROMPTS = 512
LABELS = np.array([0, 128, 256, 384, 512])
RANDOM = (0.50, 0.60, 0.68, 0.74, 0.78)  # like imdb-lite

LUCKS = {
    "seeds alone": Luck(seed=0.02),
    "as in imdb-lite": Luck(seed=0.015, prompt=0.06),
    "as in imdb-lite-online": Luck(seed=0.005, prompt=0.10),
    "prompts count": Luck(seed=0.02, prompt=0.20),
    "prompts count, seeds do not": Luck(prompt=0.20),
    "prompts decide": Luck(seed=0.02, prompt=0.35),
    "neither": Luck(),
}


def coverage(num: int) -> str:
    """95 % intervals of a win rate of .6, by each error."""
    rows = []
    for name, luck in LUCKS.items():
        for num_seeds in (3, 5, 10, 20):
            rng = np.random.default_rng(num_seeds)
            found = [estimate(outcomes(np.array([[0.6]]), luck, num_seeds, NUM_PROMPTS, rng)[0, 0]) for _ in range(num)]
            rows.append([name, str(num_seeds), *(share(covers(each, one, 0.6) for one in found) for each in ERRORS)])
    return table(["luck", "seeds", "z, SE seeds", "t, SE seeds", "z, two-way", "t(R-1), two-way", "as reported"], rows)


def _interval_of(
    error: Callable[[Estimate], float], df: Callable[[Estimate], float]
) -> Callable[[Estimate], tuple[float, float]]:
    return lambda found: t_interval(found.mean, error(found), df(found))


ERRORS = (
    _interval_of(lambda found: found.se_seeds, lambda _found: math.inf),
    _interval_of(lambda found: found.se_seeds, lambda found: found.num_seeds - 1),
    _interval_of(lambda found: found.se_two_way, lambda _found: math.inf),
    _interval_of(lambda found: found.se_two_way, lambda found: found.num_seeds - 1),
    lambda found: found.interval,
)


def covers(interval: Callable[[Estimate], tuple[float, float]], found: Estimate, truth: float) -> bool:
    """Whether the truth lies inside."""
    low, high = interval(found)
    return low <= truth <= high


def share(hits: Iterator[bool]) -> str:
    """Of the repetitions, in percent."""
    return f"{100 * np.mean(list(hits)):.1f}"


def level(num: int) -> str:
    """Seven strategies that are as good as random: how often any is said to differ."""
    rows = []
    lucks = {
        "no prompt suits one strategy": Luck(seed=0.01, prompt=0.1, own_seed=0.015, cell=0.3),
        "some prompts suit some": Luck(seed=0.01, prompt=0.1, own_seed=0.015, own_prompt=0.1, cell=0.3),
    }
    for name, luck in lucks.items():
        for num_seeds in (6, 9, 10, 12):
            rng = np.random.default_rng(100 + num_seeds)
            found = [_family_p(luck, num_seeds, rng) for _ in range(num)]
            rows.append([name, str(num_seeds), *(share(p[key].min() <= 0.05 for p in found) for key in found[0])])
    return table(["luck", "seeds", "uncorrected", "sign flips, Holm", "two-way t, Holm"], rows)


def _family_p(luck: Luck, num_seeds: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    y_ARP = outcomes(np.full((8, 1), 0.7), luck, num_seeds, NUM_PROMPTS, rng)[:, 0]
    flips = np.array([sign_flip_p(seed_means(y_RP - y_ARP[0])) for y_RP in y_ARP[1:]])
    found = [estimate(y_RP - y_ARP[0]) for y_RP in y_ARP[1:]]
    by_t = [2 * stats.t.sf(abs(one.mean) / one.se_two_way, one.df) for one in found]
    return {"raw": flips, "holm": np.array(holm(flips.tolist())), "t": np.array(holm(by_t))}


def labels_saved(num: int) -> str:
    """95 % intervals of labels saved, for strategies whose true number is known, or beyond what was bought."""
    rows = []
    luck = Luck(seed=0.008, prompt=0.1, own_seed=0.012, cell=0.3)
    for gain in (0.08, 0.03, 0.01, 0.0, -0.03):
        truth = np.array(RANDOM) + gain * np.array([0.0, 0.5, 1.0, 1.0, 1.0])
        needed = float(crossing(truth[None], np.array([RANDOM[-1]]), LABELS)[0])
        for num_seeds in (5, 10):
            rng = np.random.default_rng(round(1000 + 1000 * gain) + num_seeds)
            found = [_saved(truth, luck, num_seeds, rng) for _ in range(num)]
            widths = [high - low for low, high in found if math.isfinite(high - low)]
            saved = 512 - needed if math.isfinite(needed) else -math.inf
            rows.append([
                f"{gain:+.2f}", "<0" if saved == -math.inf else f"{saved:.0f}", str(num_seeds),
                share(low <= saved <= high for low, high in found), share(low == -math.inf for low, _ in found),
                f"{np.median(widths):.0f}" if widths else "-",
            ])  # fmt: skip
    return table(["gain", "truly saved", "seeds", "covered", "open below", "median width of the others"], rows)


def _saved(truth: np.ndarray, luck: Luck, num_seeds: int, rng: np.random.Generator) -> tuple[float, float]:
    y_AWRP = outcomes(np.array([truth, RANDOM]), luck, num_seeds, NUM_PROMPTS, rng)
    found = efficiency(y_AWRP[0], y_AWRP[1], LABELS)
    assert found is not None
    assert found.saved.interval is not None
    low, high = found.saved.interval
    # A high end that is open says that not even 2.5 % of the draws reach: below 0 throughout.
    return (-math.inf if low is None else low), (-1e-9 if high is None else high)


RANK_LUCKS = {
    "seeds and prompts": Luck(seed=0.008, prompt=0.1, own_seed=0.012, cell=0.3),
    "some prompts suit some": Luck(seed=0.008, prompt=0.1, own_seed=0.012, own_prompt=0.1, cell=0.3),
}


def ranks(num: int) -> str:
    """Five strategies, two pairs of them equal: do all five true ranks lie in their intervals, and how wide are these?

    Of equals each has all the places that they share.
    """
    rows = []
    rates = np.array([[0.70], [0.70], [0.72], [0.75], [0.75]])
    true = [(int((rates > rate).sum()) + 1, 5 - int((rates < rate).sum())) for rate in rates[:, 0]]
    for name, luck in RANK_LUCKS.items():
        for num_seeds in (3, 5, 6, 10, 20):
            rng = np.random.default_rng(200 + num_seeds)
            found = [rank_intervals(list(outcomes(rates, luck, num_seeds, NUM_PROMPTS, rng)[:, 0])) for _ in range(num)]
            held = share(
                all(one.best <= low and high <= one.worst for one, (low, high) in zip(each, true, strict=True))
                for each in found
            )
            width = np.mean([one.worst - one.best for each in found for one in each])
            rows.append([name, str(num_seeds), held, f"{width:.2f}"])
    return table(["luck", "seeds", "all five covered", "mean width (0 is one place, 4 is all)"], rows)


def equals(num: int) -> str:
    """Eight equal strategies: how often any is put ahead of another, by the rule for few seeds. And of four that are
    .04 better than four others, the share of the 16 differences that is found, from a quarter of the repetitions.
    """
    rows = []
    lucks = {**RANK_LUCKS, "seeds, .02": Luck(seed=0.01, prompt=0.15, own_seed=0.02, cell=0.3),
             "seeds, .03": Luck(prompt=0.1, own_seed=0.03)}  # fmt: skip
    same, apart = np.full((8, 1), 0.72), np.repeat([[0.70], [0.74]], 4, axis=0)
    for name, luck in lucks.items():
        for num_seeds in (2, 3, 5, 6, 10):
            rng = np.random.default_rng(400 + num_seeds)
            erred = [_separated(same, luck, num_seeds, rng).any(axis=1) for _ in range(num)]
            found = [_separated(apart, luck, num_seeds, rng)[:, _DIFFER].mean(axis=1) for _ in range(num // 4)]
            shares = 100 * np.array([np.mean(erred, axis=0), np.mean(found, axis=0)])
            rows.append([name, str(num_seeds), *(f"{each:.1f}" for each in shares.ravel())])
    return table(["luck", "seeds", *(f"{what}: {rule}" for what in ("any", "found") for rule in RULES)], rows)


_PAIRS = list(combinations(range(8), 2))
_DIFFER = np.array([i < 4 <= j for i, j in _PAIRS])
RULES = ("Satterthwaite", "at most R-1", "as reported")


def _separated(rates: np.ndarray, luck: Luck, num_seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Which of the 28 pairs are told apart by each of the rules, shape (rules, pairs)."""
    y_ARP = outcomes(rates, luck, num_seeds, NUM_PROMPTS, rng)[:, 0]
    found = [estimate(y_ARP[i] - y_ARP[j]) for i, j in _PAIRS]
    fewer = [replace(one, df=min(one.df, num_seeds - 1)) for one in found]
    by_t = [np.array(holm(list(map(t_test_p, each)))) <= 0.05 for each in (found, fewer)]
    reported = rank_intervals(list(y_ARP))
    return np.array([*by_t, [j not in reported[i].tied for i, j in _PAIRS]])


def power(num: int) -> str:
    """How often a true difference of .02 is found, paired and not."""
    rows = []
    for cell in (0.0, 0.3, 0.6):
        luck = Luck(seed=0.015, prompt=0.1, own_seed=0.012, cell=cell)
        for num_seeds in (6, 10, 12):
            rng = np.random.default_rng(300 + num_seeds)
            hits = np.zeros(3)
            for _ in range(num):
                ours, theirs = outcomes(np.array([[0.72], [0.70]]), luck, num_seeds, NUM_PROMPTS, rng)[:, 0]
                paired = paired_difference(ours, theirs)
                t_p = 2 * stats.t.sf(abs(paired.estimate.mean) / paired.estimate.se_two_way, paired.estimate.df)
                welch = stats.ttest_ind(seed_means(ours), seed_means(theirs), equal_var=False).pvalue
                hits += np.array([paired.p_value, t_p, welch]) <= 0.05
            rows.append([f"{cell:.1f}", str(num_seeds), *(f"{100 * hit / num:.1f}" for hit in hits)])
    columns = ["correlation of cells", "seeds", "paired, sign flips", "paired, two-way t", "unpaired, Welch"]
    return table(columns, rows)


TABLES: dict[str, tuple[Callable[[int], str], int]] = {
    "coverage": (coverage, 2000),
    "level": (level, 1000),
    "labels-saved": (labels_saved, 500),
    "ranks": (ranks, 1000),
    "equals": (equals, 800),
    "power": (power, 1000),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TABLES, action="append", help="This table; may be repeated.")
    parser.add_argument("--quick", action="store_true", help="A tenth of the repetitions.")
    asked = parser.parse_args(arguments)
    for name, (make, num) in TABLES.items():
        if asked.only is None or name in asked.only:
            repetitions = num // 10 if asked.quick else num
            print(f"{inspect.getdoc(make)}\n{name}, {repetitions} repetitions, {NUM_PROMPTS} prompts\n")
            print(make(repetitions), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
