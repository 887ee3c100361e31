"""What the bought labels say: of the implicit reward before it was trained on them, of the scores, of the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from apl_bench.comparison.arms import share_first_shown
from apl_bench.comparison.nouns import Arm, Learned
from apl_bench.statistics.calibration import calibration, score_error_correlation
from apl_bench.summary import tally

DECIDED = ("first", "second")


def acquired(arm: Arm) -> tuple[tuple[float, ...], ...]:
    """By step, for each preference that any seed bought: the probability that theta_t gave to its label."""
    steps = zip(*(run.result["steps"] for run in arm.runs.values()), strict=True)
    return tuple(tuple(p for seed in step for p in seed["probability_of_label"]) for step in steps)


def learned(arm: Arm, probabilities: Sequence[Sequence[float]]) -> Learned:
    """From `acquired` and the recorded steps of all seeds."""
    tallies, correlations = [], []
    for run in arm.runs.values():
        for step in range(1, run.spec.loop.num_steps + 1):
            rows = run.all_step_rows(step)
            tallies.append(tally(rows))
            correlations.append(_correlation(rows))
    num = sum(one.total for one in tallies)
    known = [found for found in correlations if found is not None]
    return Learned(
        calibration(list(chain.from_iterable(probabilities))),
        sum(known) / len(known) if known else None,
        sum(one.invalid for one in tallies) / num if num else None,
        share_first_shown(tallies),
    )


def _correlation(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Of one batch's scores with the implicit reward's errors; pairs without a score or a margin are left out."""
    scores = {
        (row["row"], *sorted(score[:2])): score[2]
        for row in rows if row["kind"] == "candidate" for score in row["scores"]
    }  # fmt: skip
    found = list(_scored_errors(rows, scores))
    return score_error_correlation([score for score, _ in found], [wrong for _, wrong in found])


def _scored_errors(
    rows: Sequence[Mapping[str, Any]], scores: Mapping[tuple[int, int, int], float]
) -> Iterator[tuple[float, bool]]:
    for row in rows:
        if row["kind"] != "label" or row["verdict"] not in DECIDED or row["margin"] == 0:
            continue
        place = (row["row"], *sorted((row["first"], row["second"])))
        if place in scores:
            yield scores[place], (row["margin"] > 0) != (row["verdict"] == "first")
