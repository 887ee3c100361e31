"""result.json as a function of the recorded steps and waypoints: no model, no oracle, nothing that depends on time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from apl_bench.objective import preference_probability
from apl_bench.spec import RunSpec
from apl_bench.tally import Tally
from apl_bench.types import Verdict

RESULT_SCHEMA = "apl-result/1"
DIGITS = 9  # of what goes through exp, whose last bits differ between processors


def repetition(text: str) -> float:
    """Share of a text's word bigrams that repeat an earlier one; 0 for a text of fewer than two words."""
    words = text.lower().split()
    bigrams = list(pairwise(words))
    return 1 - len(set(bigrams)) / len(bigrams) if bigrams else 0.0


def summarise(
    spec: RunSpec, steps: Sequence[Sequence[Mapping[str, Any]]], waypoints: Mapping[int, Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """The result of a run: counts and means at each waypoint, and what each step bought."""
    tallies = [tally(rows) for rows in [*steps, *waypoints.values()]]
    return {
        "schema": RESULT_SCHEMA,
        "identity": spec.identity,
        "task": spec.task.name,
        "preset": spec.preset,
        "strategy": spec.strategy.name,
        "seed": spec.seed,
        "sound": all(counts.sound for counts in tallies),
        "judge_is_oracle": spec.judge == spec.oracle,
        "waypoints": [summarise_waypoint(num_labels, rows) for num_labels, rows in waypoints.items()],
        "steps": [summarise_step(rows) for rows in steps],
    }


def tally(rows: Sequence[Mapping[str, Any]]) -> Tally:
    """The verdicts of a step's labels or a waypoint's comparisons."""
    return Tally.of((Verdict(row["verdict"]), row["swapped"]) for row in rows if "verdict" in row)


def summarise_waypoint(num_labels: int, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of a waypoint's comparisons, and what stands beside the win rate.

    `kl` is the mean of log p_theta - log p_theta0 over the probes' test completions, nats a completion; `perplexity`
    that of the human continuations of the same prompts, e to the mean nats a token.
    """
    comparisons = [row for row in rows if row["kind"] == "comparison"]
    humans = [row for row in rows if row["kind"] == "human"]
    counts = tally(comparisons)
    rate = counts.win_rate()
    texts = [row["policy"]["text"] for row in comparisons]
    probes = [row for row in comparisons if row["reference_logp"] is not None]
    log_ratios = [row["policy_logp"] - row["reference_logp"] for row in probes]
    return {
        "num_labels": num_labels,
        **dataclasses.asdict(counts),
        "win_rate": rate and rate.rate,
        "win_rate_worst": rate and rate.worst,
        "win_rate_best": rate and rate.best,
        "kl": fmean(log_ratios) if log_ratios else None,
        "mean_length": fmean(len(row["policy"]["token_ids"]) for row in comparisons),
        "repetition": fmean(repetition(text) for text in texts),
        "distinct": len(set(texts)) / len(texts),
        "perplexity": _perplexity(humans),
    }


def summarise_step(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a step bought: counts of verdicts, and the probability that theta_t gave to each label (figure 3)."""
    head = rows[0]
    labels = [row for row in rows if row["kind"] == "label"]
    counts = tally(labels)
    signed = [row["margin"] if row["verdict"] == "first" else -row["margin"] for row in labels
              if row["verdict"] in ("first", "second")]  # fmt: skip
    return {
        "step": head["step"],
        "num_pairs": len(labels),
        "num_preferences": len(signed),
        "ties": counts.ties,
        "invalid": counts.invalid,
        "first_shown_wins": counts.first_shown_wins,
        "probability_of_label": [round(float(preference_probability(margin, 0.0)), DIGITS) for margin in signed],
        "num_generated_tokens": head["num_generated"],
        "num_scored_tokens": head["num_scored"],
        "diagnostics": head["diagnostics"],
    }  # fmt: skip


def _perplexity(humans: Sequence[Mapping[str, Any]]) -> float | None:
    tokens = sum(row["num_tokens"] for row in humans)
    return round(math.exp(-math.fsum(row["logp"] for row in humans) / tokens), DIGITS) if tokens else None
