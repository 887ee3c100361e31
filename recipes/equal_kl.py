"""Win rates at equal KL from theta_0: the table of docs/results.md.

    python recipes/equal_kl.py runs/first/imdb-lite

A strategy that goes further from theta_0 with the same labels looks better at the same number of labels. Here every
seed's curve is read at the same KL instead, between waypoints linearly in the root of KL, in which win rates of DPO are
nearly straight; nothing is read beyond a curve's ends. Differences from random are paired by seed, and their error is
over seeds alone.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from apl_bench.cli.console import table
from apl_bench.records import Run, find_runs
from apl_bench.statistics import sign_flip_p

NATS = (1.0, 2.0, 3.0, 4.0, 5.0)
LEAST_SEEDS = 6  # below, nothing can be told

Curve = tuple[np.ndarray, np.ndarray]


def curve(run: Run) -> Curve:
    """Root of KL, kept from falling below 0 and below where it has been, and win rate at each waypoint."""
    points = run.result["waypoints"]
    roots = np.maximum.accumulate([max(point["kl"], 0.0) ** 0.5 for point in points])
    rates = [(point["wins"] + 0.5 * point["ties"]) / (point["wins"] + point["losses"] + point["ties"])
             for point in points]  # fmt: skip
    return roots, np.array(rates)


def at(found: Curve, nats: float) -> float:
    """The win rate there, nan beyond the last waypoint."""
    return float(np.interp(nats**0.5, *found, right=np.nan))


def cells(arm: dict[int, Curve], random: dict[int, Curve]) -> Sequence[str]:
    """Difference from random at each KL, with its error, p and number of seeds."""
    found = []
    for nats in NATS:
        both = [at(arm[seed], nats) - at(random[seed], nats) for seed in sorted(arm.keys() & random.keys())]
        known = np.array([value for value in both if not np.isnan(value)])
        if len(known) < LEAST_SEEDS:
            found.append(f"- ({len(known)})")
            continue
        error = known.std(ddof=1) / len(known) ** 0.5
        found.append(f"{known.mean():+.3f} (SE {error:.3f}, p {sign_flip_p(known):.3f}, {len(known)})")
    return found


def main(paths: Sequence[Path]) -> None:
    """Print a row for each strategy."""
    arms: dict[str, dict[int, Curve]] = defaultdict(dict)
    for run in find_runs(paths):
        arms[run.spec.strategy.name][run.spec.seed] = curve(run)
    rows = [[name, *cells(arm, arms["random"])] for name, arm in arms.items() if name != "random"]
    print(table(["minus random at a KL of", *(f"{nats:g} nats" for nats in NATS)], rows))


if __name__ == "__main__":
    main([Path(path) for path in sys.argv[1:]])
