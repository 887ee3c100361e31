"""Level 2, of one run: the protocol was kept. Counts, prompts, pairs, orders, repeats, and events that fit the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from apl_bench.acquisition import step_prompts
from apl_bench.contract import Room, acquisition_faults
from apl_bench.leaderboard.derived import Derived
from apl_bench.leaderboard.findings import Finding, shown
from apl_bench.leaderboard.inspection import Inspected
from apl_bench.summary import summarise_step, summarise_waypoint
from apl_bench.types import Acquisition, PairIndex

_AS_RUN = "submit runs as apl-bench wrote them"


def protocol_findings(run: Inspected) -> Iterator[Finding]:
    """What breaks the protocol in a run."""
    for step in run.steps:
        yield from _counts(run, step)
        yield from _pairs(run, step)
    yield from _repeats(run)
    yield from _unused(run)
    yield from _data(run)
    yield from _evaluated(run)
    yield from _trained(run)
    yield from _told(run)


def _counts(run: Inspected, step: int) -> Iterator[Finding]:
    """M labels of S candidates, from the prompts that were drawn."""
    loop, head = run.spec.loop, run.steps[step][0]
    place = run.place(f"steps/{step:04d}.jsonl")
    num_labels, num_candidates = len(run.labels(step)), len(run.candidates(step))
    if num_labels != loop.labels_per_step:
        sentence = f"a step bought {num_labels} labels; the spec has it buy {loop.labels_per_step}"
        yield Finding("V203", place, sentence, _AS_RUN)
    if (
        head.get("step") != step
        or head.get("num_candidates") != num_candidates
        or num_candidates > loop.prompts_per_step
    ):
        stated = f"step {shown(head.get('step'))} with {shown(head.get('num_candidates'))}"
        yield Finding("V203", place, f"{num_candidates} candidates, and it calls itself {stated}; expected step {step} "
                      f"with at most {loop.prompts_per_step}", _AS_RUN)  # fmt: skip


def _pairs(run: Inspected, step: int) -> Iterator[Finding]:
    """Each pair once, of two different completions that are there."""
    labels, candidates = run.labels(step), run.candidates(step)
    pairs = tuple(PairIndex(label["row"], label["first"], label["second"]) for label in labels)
    columns = max((len(row["completions"]) for row in candidates), default=0)
    room = Room(len(candidates), columns, len(labels))
    for fault in acquisition_faults(Acquisition(pairs), room):
        yield Finding("V214", run.place(f"steps/{step:04d}.jsonl"), f"step {step} {fault.sentence}", _AS_RUN)


def _repeats(run: Inspected) -> Iterator[Finding]:
    """Nobody was asked again for a better answer."""
    place = run.place("judgments.jsonl")
    again = [record for record in run.records.values() if record.generation]
    if again:
        yield Finding("V208", place, f"{len(again)} judgments are of a later generation: they were asked anew",
                      "submit runs that were judged once, in mode record")  # fmt: skip
    wrapped = {wrapper.name for plugin in (run.spec.oracle, run.spec.judge) for wrapper in plugin.wrappers}
    repeated = [record for record in run.records.values() if record.request.get("repeat", 0) != 0]
    if repeated and "repeat" not in wrapped:
        yield Finding("V208", place, f"{len(repeated)} judgments are of a repeat above 0, and the spec asks once",
                      "submit the first answers")  # fmt: skip


def _unused(run: Inspected) -> Iterator[Finding]:
    """Every judgment stands behind a verdict: what was asked and not used is a choice that nobody sees."""
    used = {key for _, _, row in run.judged() for key in row["keys"]}
    unused = run.records.keys() - used
    if unused:
        sentence = f"{len(unused)} judgments stand behind no verdict, such as {min(unused)}"
        yield Finding("V213", run.place("judgments.jsonl"), sentence, _AS_RUN)


def _data(run: Inspected) -> Iterator[Finding]:
    """The data are those that ship or are installed, where they are."""
    stated = {name: value for name, value in run.run.manifest["data"].items() if run.derived and name != "package"}
    expected = {name: value for name, value in run.derived.identity.items() if name != "package"} if run.derived else {}
    odd = sorted(name for name in {*stated, *expected} if stated.get(name) != expected.get(name))
    if odd:
        values = f"{shown(stated.get(odd[0]))}, and that of the data of this name is {shown(expected.get(odd[0]))}"
        yield Finding("V211", run.place("spec.json data"), f"its data's {odd[0]} is {values}",
                      "use the task's own data")  # fmt: skip


def _evaluated(run: Inspected) -> Iterator[Finding]:
    """The same test prompts at each waypoint: those that the data give, where they are here."""
    num = run.spec.evaluation.num_prompts
    first: list[tuple[str, str]] | None = None
    for labels in run.waypoints:
        found = [(row["prompt_id"], row["prompt"]) for row in run.comparisons(labels)]
        first = first or found
        place = run.place(f"waypoints/{labels:04d}.jsonl")
        if len(found) != num or len(set(found)) != num:
            sentence = f"{len(set(found))} different test prompts in {len(found)} comparisons; expected {num}"
            yield Finding("V204", place, sentence, _AS_RUN)
        elif found != first:
            yield Finding("V204", place, "its test prompts are not those of the first waypoint", _AS_RUN)
    expected = [(prompt.id, prompt.text) for prompt in run.derived.test] if run.derived else first
    if first != expected:
        yield Finding("V204", run.place("waypoints"), "the test prompts are not those that the task's data give",
                      "evaluate on the task's own test prompts")  # fmt: skip


def _trained(run: Inspected) -> Iterator[Finding]:
    """Training prompts that no test prompt is, and that are the step's own, where the data are here."""
    test = {row["prompt"] for row in run.comparisons(run.spec.loop.waypoints[0])}
    for step in run.steps:
        place = run.place(f"steps/{step:04d}.jsonl")
        found = [(row["prompt_id"], row["prompt"]) for row in run.candidates(step)]
        shared = [text for _, text in found if text in test]
        if shared:
            yield Finding("V206", place, f"{len(shared)} training prompts are test prompts, such as {shown(shared[0])}",
                          "train on the task's training prompts")  # fmt: skip
        if run.derived and not shared:
            yield from _drawn(run, run.derived, step, found)


def _drawn(run: Inspected, derived: Derived, step: int, found: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    num_drawn = run.steps[step][0].get("num_drawn")
    place, loop = run.place(f"steps/{step:04d}.jsonl"), run.spec.loop
    most = min(max(loop.oversample, 1) * loop.prompts_per_step, len(derived.train))
    if type(num_drawn) is not int or not len(found) <= num_drawn <= len(derived.train):
        yield Finding("V203", place, f"a step drew {shown(num_drawn)} prompts and has {len(found)} candidates", _AS_RUN)
        return
    expected = [(prompt.id, prompt.text) for prompt in step_prompts(derived.train, run.spec.seed, step, num_drawn)]
    is_whole = num_drawn == len(found)
    wrong = found != expected if is_whole else not set(found) <= set(expected)
    if wrong or (num_drawn not in (most, min(loop.prompts_per_step, len(derived.train))) and _is_built_in(run)):
        yield Finding("V205", place, "its prompts are not the next ones of the seed's permutation of the training "
                      "prompts", "let apl-bench draw the prompts")  # fmt: skip


def _is_built_in(run: Inspected) -> bool:
    return str(run.run.manifest["strategy"].get("origin", "")).startswith("apl-bench ")


def _told(run: Inspected) -> Iterator[Finding]:
    """What the run told while it went is what its rows say: stitched runs tell of others."""
    place = run.place("events.jsonl")
    last: dict[tuple[str, int], dict[str, Any]] = {}
    for event in run.events:
        if event.get("event") in ("acquired", "waypoint"):
            name = "step" if event["event"] == "acquired" else "num_labels"
            last[str(event["event"]), event.get(name, -1)] = event
    told = {**{("acquired", step): summarise_step(rows) for step, rows in run.steps.items()},
            **{("waypoint", num): summarise_waypoint(num, rows) for num, rows in run.waypoints.items()}}  # fmt: skip
    for (kind, number), summary in told.items():
        found = last.get((kind, number))
        if found is None:
            yield Finding("V216", place, f"no event tells of {kind} {number}", "submit the events of the run itself")
            continue
        odd = [name for name, value in summary.items() if name in found and found[name] != value]
        if odd:
            values = f"{shown(found[odd[0]])}, the rows {shown(summary[odd[0]])}"
            yield Finding("V216", place, f"the event of {kind} {number} has {odd[0]} {values}",
                          "submit the events of the run itself")  # fmt: skip
    if not any(event.get("event") == "finished" for event in run.events):
        yield Finding("V216", place, "no event tells that the run finished", "submit the events of the run itself")
