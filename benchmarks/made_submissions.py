"""Submissions that nobody ran, for the site's benchmark and its tests: of the form and the size of real ones.

Their numbers are drawn, not measured: they say how long a page takes and how it looks, and nothing about any strategy.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from apl_bench.leaderboard.site.controls import Control
from apl_bench.leaderboard.site.entries import Entry, Recorded, Verified
from apl_bench.leaderboard.site.history import Event
from apl_bench.leaderboard.site.outcomes import Outcomes, Settled, array_of
from apl_bench.leaderboard.site.store import Store
from apl_bench.leaderboard.submission import Submission
from apl_bench.records import write_atomically
from apl_bench.statistics import estimate, paired_difference

COMMIT, SHA256 = "0" * 40, "0" * 64
BASELINE = "random"


@dataclass(frozen=True)
class Made:
    """What is different about one made submission: `skill` is each strategy's chance to win at the full budget."""

    id: str = "made"
    skill: Mapping[str, float] = field(default_factory=lambda: {"random": 0.75, "certainty": 0.8})
    name: str = "A made submission"
    submitter: str = "Nobody"
    division: str = "closed"
    created: str = "2026-11-21T12:00:00+00:00"
    seeds: tuple[int, ...] = tuple(range(9))
    num_prompts: int = 1024
    waypoints: tuple[int, ...] = (0, 128, 256, 384, 512)
    regime: str = "restart"
    preset: str = "lite"
    note: str = ""
    card: str = "# A card\n\nWhat was done, and why.\n"
    settings: str = "as it ships"
    events: tuple[Event, ...] = ()
    outcomes: Mapping[str, Sequence[str]] = field(default_factory=dict)


def lines_of(made: Made, strategy: str) -> list[str]:
    """Letters by seed: prompts differ in difficulty, which all strategies and seeds share."""
    if strategy in made.outcomes:
        return list(made.outcomes[strategy])
    hard_P = np.random.default_rng(0).normal(0, 0.8, made.num_prompts)
    chance = made.skill[strategy]
    logit = math.log(chance / (1 - chance))
    whose = made.id if strategy != BASELINE else ""
    rng = np.random.default_rng([*hashlib.sha256(f"{strategy} {whose}".encode()).digest()])
    wins_RP = rng.random((len(made.seeds), made.num_prompts)) < 1 / (1 + np.exp(-(logit + hard_P)))
    return ["".join("w" if win else "l" for win in wins) for wins in wins_RP]


def entry_of(made: Made) -> Entry:
    """The submission with its records, as the site reads them."""
    lines = {strategy: lines_of(made, strategy) for strategy in made.skill}
    rows = [_row(made, strategy, lines) for strategy in made.skill]
    rows.sort(key=lambda row: -(row["curve"][-1]["win_rate"] or 0))
    comparison: dict[str, Any] = {
        "schema": "apl-comparison/1", "name": f"imdb-{made.preset}", "task": "imdb", "preset": made.preset,
        "regime": made.regime, "settings": {"training.epochs": 2}, "num_prompts": made.num_prompts,
        "baseline": BASELINE,
        "notes": ["made by apl_bench.benchmarks.made_submissions: drawn, not measured"], "family": None, "rows": rows,
    }  # fmt: skip
    stated = _stated(made, rows)
    settled = tuple(Settled(name, dict(zip(made.seeds, found, strict=True))) for name, found in lines.items())
    sha = hashlib.sha256(made.settings.encode()).hexdigest()
    outcomes = Outcomes(comparison["name"], sha, SHA256, SHA256, made.num_prompts, made.waypoints[-1], settled)
    controls = {comparison["name"]: _controls(made, lines)}
    num = len(made.seeds) * len(lines)
    verified = Verified("2026-11-21", "0.1.0", num, num * made.num_prompts * len(made.waypoints))
    added = Event(made.created[:10], made.id, "added")
    recorded = Recorded({comparison["name"]: outcomes}, verified, controls)
    return Entry(Submission.of(stated, [comparison], made.card), recorded, (added, *made.events))


def _row(made: Made, strategy: str, lines: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    y_RP = array_of(lines[strategy])
    final = estimate(y_RP)
    versus = BASELINE in lines and strategy != BASELINE
    difference = _difference(y_RP, array_of(lines[BASELINE])) if versus else None
    start, num = 0.5, len(made.waypoints)
    curve = [
        _point(
            labels, start + (final.mean - start) * math.sqrt(w / (num - 1)) if num > 1 else final.mean, final.se_two_way
        )
        for w, labels in enumerate(made.waypoints)
    ]
    curve[-1] |= {"win_rate": finite(final.mean), "difference": difference}
    return {
        "strategy": strategy, "version": "1", "seeds": list(made.seeds), "shared_seeds": list(made.seeds),
        "ranked": True, "unranked_because": None, "rank": None, "tied_with": [], "curve": curve,
        "area": {"mean": finite(final.mean - 0.1), "se_seeds": 0.004, "se_two_way": 0.005, "interval": None},
        "area_difference": None,
        **_labels(difference, made.waypoints[-1]),
        "acquired": {"by_step": [], "share_wrong": 0.2, "accuracy": 0.8},
        "costs": {"num_labels": made.waypoints[-1], "num_judge_calls": 5632, "acquisition_generated_tokens": 82_000,
                  "acquisition_scored_tokens": 51_000, "generated_tokens": 291_479, "scored_tokens": 161_425,
                  "trained_tokens": 134_072, "seconds": 69.0, "cost_usd": 0.0},
    }  # fmt: skip


def _labels(difference: Mapping[str, Any] | None, budget: int) -> dict[str, Any]:
    """Labels needed and saved: more than the budget and less than none where it is not ahead of random."""
    if difference is None:
        return {"labels_to_target": None, "labels_saved": None}
    ahead = (difference["mean"] or 0.0) > 0
    saved, low, high = (110.0, 57.0, 152.0) if ahead else (None, None, 31.0)
    ends = {"needed": [budget - high, None if low is None else budget - low], "saved": [low, high]}
    common = {"target": 0.8, "censored": not ahead}
    return {"labels_to_target": {**common, "num_labels": saved and budget - saved, "interval": ends["needed"]},
            "labels_saved": {**common, "num_labels": saved, "interval": ends["saved"]}}  # fmt: skip


def finite(value: float) -> float | None:
    """None in the place of NaN."""
    return None if math.isnan(value) else float(value)


def _point(num_labels: int, rate: float, se: float) -> dict[str, Any]:
    known = not math.isnan(rate)
    return {
        "num_labels": num_labels, "win_rate": finite(rate), "se_seeds": finite(se * 0.8), "se_two_way": finite(se),
        "interval": [rate - 2.1 * se, rate + 2.1 * se] if known and not math.isnan(se) else None,
        "win_rate_worst": finite(rate), "win_rate_best": finite(rate), "share_invalid": 0.0, "share_first_shown": 0.5,
        "by_seed": [],
        "length_controlled": {"win_rate": rate - 0.01, "se": se} if known and not math.isnan(se) else None,
        "difference": None, "beside": {"kl": 5.4, "mean_length": 19.9, "repetition": 0.033, "perplexity": 48.0},
    }  # fmt: skip


def _difference(y_RP: np.ndarray, baseline_RP: np.ndarray) -> dict[str, Any]:
    found = paired_difference(y_RP, baseline_RP)
    mean, se = finite(found.estimate.mean), finite(found.estimate.se_two_way)
    return {"mean": mean, "se_seeds": finite(found.estimate.se_seeds), "se_two_way": se, "interval": None,
            "worst": mean, "best": mean, "sd_seeds": finite(found.sd_seeds), "num_seeds": len(y_RP),
            "p": finite(found.p_value), "p_holm": finite(found.p_value),
            "smallest_detectable": None if se is None else 2.9 * se,
            "smallest_detectable_holm": None if se is None else 3.5 * se}  # fmt: skip


def _controls(made: Made, lines: Mapping[str, Sequence[str]]) -> list[Control]:
    source, budget = next(iter(lines)), made.waypoints[-1]
    ties = dict.fromkeys(made.seeds, "t" * made.num_prompts)
    null = dict.fromkeys(made.seeds, ("wl" * made.num_prompts)[: made.num_prompts])
    return [
        Control("null", source, 0, null, "theta_0, drawn with other random numbers: recorded at 0 labels"),
        Control("copy", source, budget, ties, "the opponent's own texts: identical texts are a tie"),
        Control("longest", "theta_0", 0, {}, "the judge gpt is not local: asking it would cost money"),
        Control("shuffled", source, budget, null, "a trained policy's texts, each behind another prompt"),
    ]


def _stated(made: Made, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    num = len(made.seeds) * len(rows)
    entrants = [{"name": strategy[:100], "params": {}, "distribution": "apl-bench", "version": "0.1.0",
                 "source_sha256": SHA256} for strategy in made.skill]  # fmt: skip
    claims = [{"strategy": row["strategy"][:400], "num_labels": made.waypoints[-1], "num_seeds": len(made.seeds),
               "win_rate": row["curve"][-1]["win_rate"] or 0.0, "se_two_way": row["curve"][-1]["se_two_way"]}
              for row in rows]  # fmt: skip
    machine = {"num_runs": num, "python": "3.11.7", "machine": "x86_64", "numpy": "2.4.6", "torch": "2.13.0+cpu",
               "transformers": "5.23.0", "device": "cpu", "dtype": "float32", "num_threads": 1}  # fmt: skip
    costs = {"num_runs": num, "num_labels": num * 512, "num_judge_calls": num * 5632, "generated_tokens": num * 291_479,
             "scored_tokens": num * 161_425, "trained_tokens": num * 134_072, "seconds": num * 69.0,
             "cost_usd": 0.0}  # fmt: skip
    return {
        "schema": "apl-submission/1", "id": made.id, "name": made.name, "created": made.created,
        "submitter": {"name": made.submitter, "contact": "nobody@example.org", "affiliation": ""},
        "division": made.division, "task": "imdb", "preset": made.preset, "preset_sha256": SHA256, "changes": [],
        "strategies": entrants, "seeds": list(made.seeds),
        "budget": {"num_labels": 512, "labels_per_step": 128, "prompts_per_step": 1024,
                   "num_test_prompts": made.num_prompts},
        "harness": {"version": "0.1.0", "commit": COMMIT, "source_sha256": SHA256, "dirty": False},
        "environments": [machine], "costs": costs, "num_runs_tried": num, "claims": claims, "licence": "CC0-1.0",
        "note": made.note,
    }  # fmt: skip


def write(store: Store, entry: Entry) -> None:
    """The files of a made submission and of its records; no runs, since nobody made any."""
    folder = store.submissions / entry.id
    for name, value in (("submission.json", entry.submission.to_json()), ("results.json", list(entry.comparisons))):
        write_atomically(folder / name, json.dumps(value, ensure_ascii=False, allow_nan=False))
    write_atomically(folder / "CARD.md", entry.submission.card)
    write_atomically(folder / "MANIFEST.json", json.dumps({"made": entry.id}))
    store.write_verified(entry.id, entry.recorded.verified)
    store.write_outcomes(entry.id, list(entry.recorded.outcomes.values()))
    store.write_controls(entry.id, entry.recorded.controls)
