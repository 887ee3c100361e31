"""The share of a run spent outside model, oracle and disk: two steps of the lite preset, from the run's own events."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from apl_bench.asking.asking import Asking
from apl_bench.benchmarks.plan import Plan
from apl_bench.benchmarks.results import Facts
from apl_bench.experiment import Means, build, prepare
from apl_bench.journal import recording
from apl_bench.judgments.ledger import Ledger
from apl_bench.presets import Changes, resolve
from apl_bench.runner import run
from apl_bench.spec import RunSpec

STEPS = ("loop.budget=256", "loop.waypoints=[0, 256]")


def measure(_plan: Plan) -> Iterator[Facts]:
    """Run it in a temporary folder: seconds and share of each stage."""
    yield of_run(resolve("imdb", "lite", "certainty", Changes(STEPS), seed=0))


def of_run(spec: RunSpec) -> Facts:
    """Where a run's time goes."""
    with tempfile.TemporaryDirectory() as name, Ledger(Path(name) / "ledger") as ledger:
        experiment = build(spec, prepare(spec), Means(ledger, Asking()))
        with recording(experiment, Path(name) / "run") as journal:
            run(experiment, journal)
        lines = (Path(name) / "run" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    seconds: Counter[str] = Counter()
    for event in map(json.loads, lines):
        if event["event"] != "begin":  # what was loaded and built before the first stage is set-up
            seconds.update(event["seconds"])
    total = sum(seconds.values())
    rows = [[stage, f"{value:.2f}", f"{value / total:.2%}"] for stage, value in seconds.most_common()]
    title = (f"where {spec.loop.num_steps} steps of {spec.task.name} {spec.preset} go ({spec.strategy.name}); "
             "other: not model, oracle or disk")  # fmt: skip
    return Facts("overhead", "", title, ("stage", "seconds", "share"), rows)
