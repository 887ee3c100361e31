"""The smallest difference between strategies that seeds and test prompts can show, from the spread seen before."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from apl_bench.comparison import BASELINE
from apl_bench.planning.standing import Standing
from apl_bench.power import detectable_difference, prompts_sd, seeds_needed
from apl_bench.presets import Changes, names, resolve
from apl_bench.records import Run
from apl_bench.spec import RunSpec
from apl_bench.statistics import paired_difference

MIN_SHARED_SEEDS = 3
DIFFERENCES = (0.01, 0.02, 0.05)
WIN_RATES = (0.5, 0.85)  # where nothing is known: at the start, and where the free presets end


@dataclass(frozen=True, slots=True)
class Detectable:
    """What a design shows where the seeds' paired differences spread by `sd`: the smallest difference that is found
    (two-sided alpha .05, power .8; None for one seed), and the seeds that each of DIFFERENCES needs (None: over
    10,000)."""

    between: str
    sd: float
    source: str
    difference: float | None
    seeds_needed: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """The sd over seeds of the paired difference of two strategies, and where it is from."""

    between: str
    sd: float
    source: str


def design(specs: Sequence[RunSpec], standing: Standing, num_seeds: int) -> list[Detectable]:
    """By recorded runs of these settings, else by published ones of the preset, else by the test prompts alone."""
    spreads = list(recorded_spreads(standing)) or list(published_spreads(specs)) or list(prompt_spreads(specs[0]))
    planned = {spec.strategy.name for spec in specs}
    about = [spread for spread in spreads if spread.between.removesuffix(f" - {BASELINE}") in planned]
    return [
        Detectable(spread.between, spread.sd, spread.source, detectable_difference(num_seeds, spread.sd),
                   tuple(seeds_needed(difference, spread.sd) for difference in DIFFERENCES))
        for spread in about or spreads
    ]  # fmt: skip


def recorded_spreads(standing: Standing) -> Iterator[Spread]:
    """Of each recorded strategy against the baseline, where they share enough complete seeds."""
    by_strategy: dict[str, dict[int, Run]] = {}
    for run in standing.likes:
        if run.complete and not run.spec.strategy.params:
            by_strategy.setdefault(run.spec.strategy.name, {})[run.spec.seed] = run
    baseline = by_strategy.pop(BASELINE, {})
    for name, runs in by_strategy.items():
        seeds = sorted(set(runs) & set(baseline))
        if len(seeds) >= MIN_SHARED_SEEDS:
            sd = paired_difference(
                *_paired([runs[seed] for seed in seeds], [baseline[seed] for seed in seeds])
            ).sd_seeds
            if math.isfinite(sd) and sd > 0:
                yield Spread(f"{name} - {BASELINE}", sd, f"{len(seeds)} seeds, recorded in {standing.out}")


def _paired(ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes at the full budget, each of shape (R, P), on the prompts that all have."""
    num_labels = ours[0].spec.loop.waypoints[-1]
    outcomes = [run.outcomes(num_labels) for run in (*ours, *theirs)]
    prompts = sorted(set.intersection(*(set(each) for each in outcomes)))
    y_RP = np.array([[each[prompt] for prompt in prompts] for each in outcomes])
    return y_RP[: len(ours)], y_RP[len(ours) :]


def published_spreads(specs: Sequence[RunSpec]) -> Iterator[Spread]:
    """As published for the preset; says so where the plan changes the preset."""
    spec = specs[0]
    table = _published().get(f"{spec.task.name}-{spec.preset}")
    if table is None:
        return
    source = f"{table['num_seeds']} seeds, docs/results.md of {table['date']}"
    if not _as_shipped(spec):
        source += ", for the preset as it ships: a first guess for your settings"
    for name, sd in table["sd_seeds"].items():
        yield Spread(f"{name} - {table['baseline']}", sd, source)


def prompt_spreads(spec: RunSpec) -> Iterator[Spread]:
    """From the luck of the test prompts alone: the least that is to be expected, as what the seeds add is not known."""
    num = spec.evaluation.num_prompts
    for win_rate in WIN_RATES:
        source = f"sqrt(2 p (1 - p) / {num}), the prompts alone: seeds add to it by what nobody has measured"
        yield Spread(f"any two at win rate {win_rate}", prompts_sd(win_rate, num), source)


def _as_shipped(spec: RunSpec) -> bool:
    if f"{spec.task.name}-{spec.preset}" not in names():
        return False
    shipped = resolve(spec.task.name, spec.preset, BASELINE, Changes(), spec.seed)
    return replace(spec, strategy=shipped.strategy) == shipped


@cache
def _published() -> Mapping[str, Any]:
    return tomllib.loads((files(__package__) / "published.toml").read_text(encoding="utf-8"))
