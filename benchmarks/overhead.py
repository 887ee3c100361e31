"""The share of a run spent outside model, oracle and disk: two steps of the lite preset, from the run's own events."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

from apl_bench.asking.asking import Asking
from apl_bench.experiment import Means, build, prepare
from apl_bench.journal import Journal
from apl_bench.judgments.ledger import Ledger
from apl_bench.presets import Changes, resolve
from apl_bench.records import RunWriter
from apl_bench.runner import run

STEPS = ("loop.budget=256", "loop.waypoints=[0, 256]")


def measure(strategy: str = "certainty") -> str:
    """Run it in a temporary folder; a line for each stage with its seconds and share, and the peak memory."""
    spec = resolve("imdb", "lite", strategy, Changes(STEPS), seed=0)
    with tempfile.TemporaryDirectory() as name, Ledger(Path(name) / "ledger") as ledger:
        writer = RunWriter(Path(name) / "run")
        materials = prepare(spec)
        experiment = build(spec, materials, Means(ledger, Asking()))
        writer.open(experiment.manifest())
        run(experiment, Journal(writer, materials.clock))
        writer.close()
        lines = (writer.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    seconds: Counter[str] = Counter()
    for event in events:
        if event["event"] != "begin":  # what was loaded and built before the first stage is set-up
            seconds.update(event["seconds"])
    total = sum(seconds.values())
    shares = [f"  {stage:8} {value:7.2f} s  {value / total:6.2%}" for stage, value in seconds.most_common()]
    peak = max(event["peak_memory_mb"] for event in events)
    title = f"\nWhere {spec.loop.num_steps} steps of {spec.preset} go ({strategy}); other: not model, oracle or disk"
    return "\n".join([title, *shares, f"  peak memory {peak:.0f} MB"])
