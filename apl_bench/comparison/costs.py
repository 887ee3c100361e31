"""What runs cost: labels, judgments, tokens, seconds, dollars."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from apl_bench.asking.prices import Usage, price_of
from apl_bench.comparison.nouns import Arm, Costs, RecordedRun, mean
from apl_bench.judgments.record import Record


def costs(arm: Arm) -> Costs:
    """Mean over the seeds."""
    runs = list(arm.runs.values())
    spent = [_engine_counts(run) for run in runs]
    return Costs(
        num_labels=mean([_of_steps(run, "num_pairs") for run in runs]),
        num_judge_calls=arm.num_judge_calls / len(runs),
        acquisition_generated_tokens=mean([_of_steps(run, "num_generated_tokens") for run in runs]),
        acquisition_scored_tokens=mean([_of_steps(run, "num_scored_tokens") for run in runs]),
        generated_tokens=mean([one.get("sample") for one in spent]),
        scored_tokens=mean([one.get("score") for one in spent]),
        trained_tokens=mean([one.get("train") for one in spent]),
        seconds=mean([one.get("seconds") for one in spent]),
        cost_usd=mean([_cost_usd(run) for run in runs]),
    )


def _of_steps(run: RecordedRun, name: str) -> float | None:
    counts = [step.get(name) for step in run.result["steps"]]
    return None if None in counts else float(sum(counts))


def _engine_counts(run: RecordedRun) -> dict[str, float]:
    """Tokens by stage and seconds in all, as far as the events have them (docs/run-directory.md). Tokens are those of a
    run alone, whatever a sweep had computed already; seconds are those that were spent."""
    found: defaultdict[str, float] = defaultdict(float)
    for event in run.events():
        for stage, num_tokens in counted(event, "tokens").items():
            found[stage] += num_tokens
        if "seconds" in event:
            found["seconds"] += math.fsum(event["seconds"].values())
    return dict(found)


def counted(event: Mapping[str, Any], name: str) -> dict[str, float]:
    """`tokens` or `gflop` of an event by stage, with those that were spared because another run had computed them."""
    done, spared = event.get(name, {}), event.get("spared", {}).get(name, {})
    return {stage: done.get(stage, 0) + spared.get(stage, 0) for stage in {**done, **spared}}


def _cost_usd(run: RecordedRun) -> float | None:
    """By list price, whoever paid first and through whichever API; None where a price is not known."""
    dollars = [_price_usd(record) for record in run.counted_judgments()]
    return None if None in dollars else math.fsum(price for price in dollars if price is not None)


def _price_usd(record: Record) -> float | None:
    used, price = Usage.of(record.reply.usage), price_of(record.request)
    if not used.total:
        return 0.0
    return price.cost_usd(used) if price else None
