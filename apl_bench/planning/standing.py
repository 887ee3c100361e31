"""What is recorded already of planned runs, and what runs like them recorded that they would ask as well."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from apl_bench.experiment import plugins
from apl_bench.planning.units import Share, Unit, units
from apl_bench.records import Run, completion_of, file_name, label_pairs, run_path
from apl_bench.registry import STRATEGIES, TASKS
from apl_bench.spec import RunSpec
from apl_bench.types import Pair, Prompt, SpecError

_WAITING = "oracle"  # the stage of events.jsonl that is charged for asking


@dataclass(frozen=True)
class Standing:
    """The runs' folder, as far as it concerns these specs. `relatives` are all runs there that differ from them in
    strategy, seed, oracle and judge alone; `notices` says what was not read, or not counted on."""

    specs: Sequence[RunSpec]
    relatives: Sequence[Run]
    notices: list[str]
    out: Path

    def run(self, spec: RunSpec) -> Run | None:
        """The planned run as far as it has come, None where it is not begun."""
        run = Run(run_path(self.out, spec))
        return run if (run.path / "spec.json").is_file() else None

    @cached_property
    def likes(self) -> list[Run]:
        """The relatives that were asked alike as well: what a comparison puts side by side."""
        return [run for run in self.relatives if _asked(run.spec) == _asked(self.specs[0])]

    @cached_property
    def recorded(self) -> frozenset[Unit]:
        """The units of planned runs that need nobody, because their rows are written."""
        runs = [(spec, self.run(spec)) for spec in self.specs]
        return frozenset(unit for spec, run in runs if run for unit in units(spec) if run.complete or _has(run, unit))

    @cached_property
    def shares(self) -> dict[Share, tuple[Run, Unit]]:
        """Where the questions of a share are recorded: by a relative of today's strategy and task, and beyond its first
        step only by one with the same oracle, whose labels made the policy."""
        spec, found = self.specs[0], dict[Share, tuple[Run, Unit]]()
        for run in filter(self._is_of_today, self.relatives):
            same_labels = (run.spec.oracle, run.spec.judging) == (spec.oracle, spec.judging)
            for unit in units(run.spec):
                if (unit.certain or same_labels) and unit.share not in found and _has(run, unit):
                    found[unit.share] = run, unit
        return found

    def _is_of_today(self, run: Run) -> bool:
        spec = run.spec
        now = {"task": TASKS.identity(spec.task.name)}
        if spec.strategy.name in STRATEGIES.names():
            now["strategy"] = STRATEGIES.identity(spec.strategy.name)
        if len(now) == 2 and all(run.manifest.get(part) == identity for part, identity in now.items()):
            return True
        self.notices.append(f"{run.path} was made with another version of its strategy or task: its answers in the "
                            "ledger are not counted on")  # fmt: skip
        return False

    def pairs(self, share: Share) -> list[Pair]:
        """The pairs that every unit of this share asks about, as one run recorded them."""
        run, unit = self.shares[share]
        return recorded_pairs(run, unit)

    def some_pairs(self, part: str, num: int) -> list[Pair]:
        """Up to so many recorded pairs of this part, from the last unit of some runs: what trained policies write."""
        found: list[Pair] = []
        for run in self.relatives:
            written = [unit for unit in units(run.spec) if unit.part == part and _has(run, unit)]
            if written and len(found) < num:
                found += recorded_pairs(run, written[-1])[: max(1, num // 4)]
        return found[:num]

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Seconds that the policy and files took in a complete run, mean over the seeds, by strategy."""
        by_strategy: dict[str, list[float]] = {}
        for run in self.relatives:
            if run.complete:
                by_strategy.setdefault(run.spec.strategy.name, []).append(model_seconds(run))
        return {name: sum(values) / len(values) for name, values in by_strategy.items()}


def look(out: Path, specs: Sequence[RunSpec]) -> Standing:
    """What `out` holds of these specs. Raises SpecError where a planned run was begun with another plugin, as the run
    itself would."""
    for spec in specs:
        run = Run(run_path(out, spec))
        if (run.path / "spec.json").is_file():
            run.refuse_other(plugins(spec))
    notices: list[str] = []
    relatives = list(_relatives(out, specs[0], notices))
    return Standing(specs, relatives, notices, out)


def _relatives(out: Path, spec: RunSpec, notices: list[str]) -> Iterator[Run]:
    folder = out / file_name(f"{spec.task.name}-{spec.preset}")
    for path in sorted(folder.glob("*/*/spec.json")):
        run = Run(path.parent)
        try:
            made = run.spec
        except (SpecError, KeyError, TypeError, ValueError) as error:
            notices.append(f"{path} was passed over: {error}")
            continue
        asked = replace(spec, oracle=made.oracle, judge=made.judge, judging=made.judging)
        if replace(asked, strategy=made.strategy, seed=made.seed) == made:
            yield run


def _asked(spec: RunSpec) -> tuple[object, ...]:
    return spec.oracle, spec.judge, spec.judging


def _has(run: Run, unit: Unit) -> bool:
    folder = "steps" if unit.part == "oracle" else "waypoints"
    return (run.path / folder / f"{unit.place:04d}.jsonl").is_file()


def recorded_pairs(run: Run, unit: Unit) -> list[Pair]:
    """The pairs that a recorded unit asked about. Raises SpecError where its rows cannot be read."""
    if unit.part == "oracle":
        return label_pairs(run.all_step_rows(unit.place))
    rows = [row for row in run.all_waypoint_rows(unit.place) if row["kind"] == "comparison"]
    return [_compared(row) for row in rows]


def _compared(row: Mapping[str, Any]) -> Pair:
    prompt = Prompt(row["prompt_id"], row["prompt"])
    return Pair(prompt, completion_of(row["policy"]), completion_of(row["opponent"]))


def model_seconds(run: Run) -> float:
    """Seconds that a run has spent on everything but asking, by its events."""
    path = run.path / "events.jsonl"
    total = 0.0
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            stages = json.loads(line).get("seconds", {})
        except ValueError:
            continue  # a last line that a kill left unfinished
        total += sum(value for stage, value in stages.items() if stage != _WAITING)
    return total
