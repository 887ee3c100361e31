"""Recompute every number of a run from its recorded texts and raw replies: no model, no network, no key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.nearest import Nearest, nearest_record
from apl_bench.judgments.record import Record
from apl_bench.records import Run, completion_of, judged_row, label_pairs
from apl_bench.registry import BUILT_IN
from apl_bench.reselection import selection_faults
from apl_bench.spec import PluginSpec
from apl_bench.summary import summarise
from apl_bench.types import JSON, Pair, Prompt
from apl_bench.wrapping import Wrapped, create_oracle

Make = Callable[[PluginSpec], Wrapped]


@dataclass(frozen=True)
class Replay:
    """What a replay found: how many judgments were read again, and every place where the record disagrees with it."""

    num_judgments: int
    differences: tuple[str, ...]


class Slice:
    """The judgments of one run, read-only, in the place of a ledger."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._records = records

    def get_many(self, keys: Sequence[str], generation: int = 0) -> dict[str, Record]:
        """The records that are there; a run goes by one reply to a question, whatever its generation."""
        del generation
        return {key: self._records[key] for key in keys if key in self._records}

    def nearest(self, request: Mapping[str, JSON]) -> Nearest | None:
        """The one nearest to what is missing."""
        return nearest_record(request, self._records.values())


def replay(run: Run, make: Make = create_oracle) -> Replay:
    """Rebuild every request, read every reply again, select again by the recorded scores, recompute the result, and
    compare with what is recorded. `make` gives the oracle and the judge, which are never asked.

    Raises MissingJudgment where a judgment is not in the run's slice of the ledger.
    """
    spec, judgments = run.spec, Slice(run.judgments())
    sources = (make(plugin) for plugin in (spec.oracle, spec.judge))
    oracle, judge = (Judging(source, judgments, Manner(Mode.REPLAY, spec.judging.order)) for source in sources)
    steps = {f"steps/{n:04d}.jsonl": run.all_step_rows(n) for n in range(1, spec.loop.num_steps + 1)}
    waypoints = {f"waypoints/{n:04d}.jsonl": run.all_waypoint_rows(n) for n in spec.loop.waypoints}
    fresh_steps = [_again(rows, "label", label_pairs(rows), oracle) for rows in steps.values()]
    fresh_waypoints = [_again(rows, "comparison", waypoint_pairs(rows), judge) for rows in waypoints.values()]
    recorded, fresh = {**steps, **waypoints}, [*fresh_steps, *fresh_waypoints]
    differences = [
        line
        for (place, rows), again in zip(recorded.items(), fresh, strict=True)
        for number, (row, fresh_row) in enumerate(zip(rows, again, strict=True), start=1)
        for line in _compare(f"{place}:{number}", row, fresh_row)
    ]
    result = summarise(spec, fresh_steps, dict(zip(spec.loop.waypoints, fresh_waypoints, strict=True)))
    num = sum(len(row.get("keys", ())) for rows in fresh for row in rows)
    return Replay(num, (*differences, *selection_differences(run), *_compare("result.json", run.result, result)))


def is_built_in(run: Run) -> bool:
    """Whether the run's strategy is one that ships, by what its spec.json says."""
    strategy = run.manifest.get("strategy")
    origin = strategy.get("origin") if isinstance(strategy, Mapping) else None
    return isinstance(origin, str) and origin.partition(" ")[0] == BUILT_IN.partition(" ")[0]


def selection_differences(run: Run) -> list[str]:
    """Where a step bought what its recorded scores do not choose."""
    steps = range(1, run.spec.loop.num_steps + 1)
    return [f"steps/{step:04d}.jsonl: {fault}"
            for step in steps
            for fault in selection_faults(run.spec, run.all_step_rows(step), is_built_in(run))]  # fmt: skip


def _again(
    rows: Sequence[Mapping[str, Any]], kind: str, pairs: Sequence[Pair], judging: Judging
) -> list[Mapping[str, Any]]:
    """The rows, those of one kind with their verdicts read again."""
    judged = iter(judging.judge(pairs))
    return [{**row, **judged_row(next(judged))} if row["kind"] == kind else row for row in rows]


def waypoint_pairs(rows: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """The pairs that a waypoint's rows say were judged, the policy's completion first, in their order."""
    return [
        Pair(Prompt(row["prompt_id"], row["prompt"]), completion_of(row["policy"]), completion_of(row["opponent"]))
        for row in rows
        if row["kind"] == "comparison"
    ]


def _compare(place: str, recorded: Any, again: Any) -> list[str]:
    """One line for each leaf that differs, by its path."""
    if isinstance(recorded, Mapping) and isinstance(again, Mapping):
        keys = dict.fromkeys([*recorded, *again])
        return [line for key in keys for line in _compare(f"{place} {key}", recorded.get(key), again.get(key))]
    if isinstance(recorded, list) and isinstance(again, list) and len(recorded) == len(again):
        pairs = enumerate(zip(recorded, again, strict=True))
        return [line for i, (a, b) in pairs for line in _compare(f"{place}[{i}]", a, b)]
    return [] if recorded == again else [f"{place}: recorded {recorded!r}, recomputed {again!r}"]
