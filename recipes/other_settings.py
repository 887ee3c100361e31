"""One strategy against another that was run at other settings, such as random at another learning rate.

    python recipes/other_settings.py RUNS certainty OTHER_RUNS random

`apl-bench compare` keeps runs of other settings apart, since what they differ in is not the strategy alone. Here it is
known what they differ in, and asked whether it does the same. Paired by seed and test prompt; the table of
docs/results.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from apl_bench.cli.console import number, table
from apl_bench.comparison.arms import arms_of
from apl_bench.comparison.nouns import Arm
from apl_bench.records import find_runs, outcomes_of
from apl_bench.statistics import estimate, paired_difference


def arm(folder: str, strategy: str) -> Arm:
    """The runs of a strategy in a folder."""
    runs = [run for run in find_runs([Path(folder)]) if run.spec.strategy.name == strategy and run.complete]
    found = arms_of(runs) if runs else []
    if len(found) != 1:
        raise SystemExit(f"{folder}: {len(found)} strategies with the name {strategy!r}; expected one")
    return found[0]


def prompts(found: Arm) -> list[str]:
    """The test prompts, which all runs of an arm share."""
    run = next(iter(found.runs.values()))
    return sorted(outcomes_of(run.all_waypoint_rows(found.waypoints[-1])))


def main(ours: Arm, theirs: Arm) -> None:
    """A line for each waypoint."""
    if ours.waypoints != theirs.waypoints or prompts(ours) != prompts(theirs):
        raise SystemExit("the two were evaluated at other numbers of labels, or on other prompts: nothing to pair")
    seeds = [seed for seed in ours.seeds if seed in theirs.seeds]
    (our_rates, our_kl), (their_rates, their_kl) = ours.on(seeds), theirs.on(seeds)
    rows = []
    for w, num_labels in enumerate(ours.waypoints):
        found = paired_difference(our_rates[w], their_rates[w])
        kls = [number(float(np.mean(kl_WR[w])), 1) for kl_WR in (our_kl, their_kl)]
        rates = [number(estimate(y_WRP[w]).mean, 3) for y_WRP in (our_rates, their_rates)]
        error = found.estimate.se_two_way
        rows.append([num_labels, rates[0], kls[0], rates[1], kls[1], number(found.estimate.mean, 3, signed=True),
                     number(error, 3), number(found.p_value, 3)])  # fmt: skip
    columns = ["labels", ours.strategy, "KL", theirs.strategy, "KL", "difference", "SE two-way", "p"]
    print(f"{len(seeds)} seeds")
    print(table(columns, rows))


if __name__ == "__main__":
    main(arm(*sys.argv[1:3]), arm(*sys.argv[3:5]))
