"""Level 3, of one run: requests and keys are built again, replies read again, selections made again, numbers computed
again, and oracles that ship asked again; by the verifier's own code, offline, with no model."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from apl_bench.judging import MissingJudgment
from apl_bench.leaderboard.findings import Finding, shown
from apl_bench.leaderboard.inspection import Inspected
from apl_bench.leaderboard.packing.answers import Part, plugin_of
from apl_bench.leaderboard.packing.oracles import CHEAP, offline
from apl_bench.records import label_pairs
from apl_bench.replay import replay, selection_differences, waypoint_pairs
from apl_bench.spec import PluginSpec
from apl_bench.wrapping import Wrapped

_AS_RUN = "submit what the run recorded"
_PLACE = re.compile(r"(steps|waypoints)/[0-9]+\.jsonl")
_CODES = {" swapped": "V207", " verdict": "V301", " p_first": "V301", " keys": "V301"}
MOST_SHOWN = 5  # differences of a kind in a run


def recomputation_findings(run: Inspected) -> Iterator[Finding]:
    """What does not come out as it is recorded."""
    yield from _numbers(run)
    try:
        differences = selection_differences(run.run) if run.from_columns else _replayed(run)
    except MissingJudgment as error:
        yield Finding("V302", run.place("judgments.jsonl"), f"no recorded judgment has the key that follows from the "
                      f"texts, of {error.num_missing} comparisons; the first is {error.key}",
                      "texts, order and oracle have to be those that were judged")  # fmt: skip
        return
    num_of: Counter[str] = Counter()
    for finding in (_finding(run, difference) for difference in differences):
        num_of[finding.code] += 1
        if num_of[finding.code] <= MOST_SHOWN:
            yield finding
    for part in ("oracle", "judge"):
        if part not in run.answers_anew:
            yield from _asked_again(run, part)


def _replayed(run: Inspected) -> Sequence[str]:
    """Raises MissingJudgment."""
    return replay(run.run, partial(_oracle, run)).differences


def _oracle(run: Inspected, plugin: PluginSpec) -> Wrapped:
    part = "oracle" if plugin == run.spec.oracle else "judge"
    return offline(plugin, run.frames.get(part))


def _finding(run: Inspected, difference: str) -> Finding:
    """A difference of a replay as a finding."""
    place, _, sentence = difference.partition(": ")
    if place.startswith("result.json"):
        return Finding("V305", run.place("result.json"), shown(difference), _AS_RUN)
    code = next((code for field, code in _CODES.items() if field in place), "V304")
    remedy = "the labels have to be those that the recorded scores choose" if code == "V304" else _AS_RUN
    return Finding(code, run.place(place.partition(" ")[0]), shown(difference if code != "V304" else sentence), remedy)


def _asked_again(run: Inspected, part: str) -> Iterator[Finding]:
    """Whether an oracle that ships gives today the replies that are recorded."""
    plugin = plugin_of(run.spec, part)
    if plugin.name not in CHEAP:
        return
    again = Part(offline(plugin, None), run.spec.judging.order, 0, {})
    pairs = [pair for rows in run.steps.values() for pair in label_pairs(rows)] if part == "oracle" else [
        pair for rows in run.waypoints.values() for pair in waypoint_pairs(rows)]  # fmt: skip
    again.judge(pairs)
    other = [key for key, record in again.records.items()
             if key in run.records and run.records[key].reply.raw != record.reply.raw]  # fmt: skip
    if other:
        first = run.records[other[0]].reply.raw
        yield Finding("V308", run.place("judgments.jsonl"), f"{len(other)} replies are not what {plugin.name} says to "
                      f"the same texts; the first is {shown(first)}", "submit its own replies")  # fmt: skip


def _numbers(run: Inspected) -> Iterator[Finding]:
    """Numbers that none of these can be."""
    for name, rows in (*(("steps", rows) for rows in run.steps.values()),
                       *(("waypoints", rows) for rows in run.waypoints.values())):  # fmt: skip
        for row in rows:
            wrong = _impossible(row)
            if wrong:
                yield Finding("V309", run.place(name), f"{wrong} is {shown(row[wrong])}, which it cannot be", _AS_RUN)
                return


def _impossible(row: Mapping[str, Any]) -> str | None:
    """The name of a field that holds what it cannot: a log-probability above 0, a count below it."""
    for name in ("policy_logp", "reference_logp", "logp"):
        value = row.get(name)
        if value is not None and not (isinstance(value, float) and -1e7 < value <= 1e-3):
            return name
    for name in ("num_tokens", "num_generated", "num_scored", "num_drawn"):
        value = row.get(name)
        if value is not None and not (type(value) is int and 0 <= value < 10**12):
            return name
    margin = row.get("margin")
    return "margin" if margin is not None and not (isinstance(margin, float) and math.isfinite(margin)) else None
