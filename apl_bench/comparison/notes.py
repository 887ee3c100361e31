"""What a reader has to know before believing a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from apl_bench.comparison.grouping import differing, surroundings
from apl_bench.comparison.nouns import BASELINE, Arm, Row, format_seeds
from apl_bench.power import fewest_for_sign_flips, smallest_sign_flip_p
from apl_bench.spec import RunSpec
from apl_bench.statistics import Family
from apl_bench.statistics.ranks import MIN_SEEDS
from apl_bench.wording import quantity


def notes_on(spec: RunSpec, arms: Sequence[Arm], rows: Sequence[Row], family: Family | None) -> Iterator[str]:
    """On the comparison, the family, and the runs themselves."""
    has_baseline = any(row.strategy == BASELINE for row in rows)
    if not has_baseline:
        yield f"no run of {BASELINE} is among these: there is nothing to take differences from"
    else:
        yield from _pairing_notes(rows)
    yield from _ranking_notes(rows)
    for row in rows:
        if len(row.seeds) == 1:
            yield f"{row.strategy} has one seed: its error is over prompts alone, and says nothing of another seed"
    if family:
        yield from _family_notes(rows, family)
    if spec.oracle == spec.judge:
        yield "the judge is the oracle that labelled the training pairs: a policy that games it wins"
    yield from _run_notes(arms)


def _pairing_notes(rows: Sequence[Row]) -> Iterator[str]:
    seeds = next(row.seeds for row in rows if row.strategy == BASELINE)
    for row in rows:
        if row.strategy == BASELINE or row.seeds == row.shared_seeds == seeds:
            continue
        both = f"{row.strategy} and {BASELINE}"
        if row.shared_seeds:
            yield f"only seeds {format_seeds(row.shared_seeds)} are shared by {both}: their difference uses these"
        else:
            yield f"no seed is shared by {both}: there is no difference to show"


def _ranking_notes(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.standing.unranked_because:
            yield f"{row.strategy} has no rank: {row.standing.unranked_because}"
    ranked = [row for row in rows if row.standing.rank]
    if len(ranked) > 1 and len(ranked[0].seeds) < MIN_SEEDS:
        yield (f"with {quantity(len(ranked[0].seeds), 'seed')} no strategy is put ahead of another: that takes "
               f"{MIN_SEEDS} seeds")  # fmt: skip


def _family_notes(rows: Sequence[Row], family: Family) -> Iterator[str]:
    strategies = {row.strategy for row in rows}
    for one in family.hypotheses:
        if one.strategy not in strategies:
            yield (f"{one.strategy} at {one.num_labels} labels was declared and has no run here: it counts in Holm's "
                   "correction all the same")  # fmt: skip
    num = len(family.hypotheses)
    fewest = min((len(row.shared_seeds) for row in rows if row.shared_seeds), default=0)
    first = family.alpha / num
    if fewest and smallest_sign_flip_p(fewest) > first:
        yield (f"with {quantity(fewest, 'seed')} no p is below {smallest_sign_flip_p(fewest):.2g}, and for "
               f"{quantity(num, 'hypothesis', 'hypotheses')} Holm's correction asks {first:.2g} of the first: nothing "
               f"can be significant before there are {fewest_for_sign_flips(first)} seeds")  # fmt: skip


def _run_notes(arms: Sequence[Arm]) -> Iterator[str]:
    """What the runs themselves say: unreadable verdicts, strategies that were edited, machines that differ."""
    runs = [(arm.strategy, seed, run) for arm in arms for seed, run in arm.runs.items()]
    for strategy, seed, run in runs:
        if not run.result.get("sound", True):
            yield f"{strategy}, seed {seed}, is unsound: over 1 % of the verdicts of a step or a waypoint are invalid"
    for arm in arms:
        if len({json.dumps(run.manifest.get("strategy")) for run in arm.runs.values()}) > 1:
            yield f"the seeds of {arm.strategy} were not all run with the same version and source of the strategy"
    lacking = [f"{arm.strategy}, seed {seed}" for arm in arms
               for seed, kl_W in zip(arm.seeds, arm.kl_WR.T, strict=True) if np.isnan(kl_W).any()]  # fmt: skip
    if lacking:
        more = f" and {quantity(len(lacking) - 1, 'other run')}" if len(lacking) > 1 else ""
        yield f"{lacking[0]}{more} recorded no KL at some waypoint: nothing of these strategies is read at equal KL"
    first, *others = (surroundings(run) for *_, run in runs)
    found = {key: pair for other in others for key, pair in differing(first, other).items()}
    for key, (here, there) in found.items():
        yield f"{key} is {here!r} in some runs and {there!r} in others: their digits need not repeat elsewhere"
