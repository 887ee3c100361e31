"""What a run says while it goes: each stage is recorded before the next begins, timed, and told to whoever listens."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from apl_bench.acquisition import Step
from apl_bench.clock import Clock, Spent
from apl_bench.experiment import Experiment
from apl_bench.protocols import Engine, Policy
from apl_bench.provenance import harness
from apl_bench.records import RunWriter
from apl_bench.summary import summarise_step, summarise_waypoint
from apl_bench.types import Preference, TrainingReport, Work


class Journal:
    """The runner's view of a run directory; `listen` gets every event as it is written to events.jsonl."""

    def __init__(self, writer: RunWriter, clock: Clock, listen: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._writer = writer
        self._clock = clock
        self._listen = listen
        self._waypoints = set(writer.spec.loop.waypoints)
        self._peak_device_bytes: Callable[[], int | None] = lambda: None

    def resume(self, engine: Engine) -> tuple[int, Policy, list[Preference]]:
        """Steps done, the policy and the preferences of a run that stopped; nothing and theta_0 for a new one."""
        done, policy, labelled = self._writer.resume(engine)
        loop = self._writer.spec.loop
        counts = {"steps_done": done, "num_steps": loop.num_steps, "num_labels": done * loop.labels_per_step}
        self._peak_device_bytes = engine.peak_device_bytes
        self._emit("begin", **counts, machine=asdict(engine.machine()), harness=harness())
        return done, policy, labelled

    def step(self, step: int, acquire: Callable[[], Step]) -> list[Preference]:
        """The preferences that a step bought: read where it is recorded, else acquired and recorded."""
        if self._writer.step_rows(step) is None:
            acquired = acquire()
            with self._clock.stage("disk"):
                self._writer.write_step(step, acquired.rows, acquired.judged)
        summary = summarise_step(self._writer.step_rows(step) or [])
        self._emit("acquired", **{key: value for key, value in summary.items() if key != "probability_of_label"})
        return self._writer.preferences(step)

    def trained(self, step: int, num_preferences: int, report: TrainingReport) -> None:
        """Tell that a fine-tuning ended."""
        losses = report.epoch_losses
        ends = {"first_epoch_loss": losses[0], "last_epoch_loss": losses[-1]} if losses else {}
        counts = {"num_updates": report.num_updates, "num_tokens": report.num_tokens}
        self._emit("trained", step=step, num_preferences=num_preferences, **counts, **ends)

    def waypoint(self, num_labels: int, evaluate: Callable[[], Step]) -> None:
        """Evaluate and record, if the spec has a waypoint here and it is not recorded yet."""
        if num_labels not in self._waypoints:
            return
        if self._writer.waypoint_rows(num_labels) is None:
            evaluated = evaluate()
            with self._clock.stage("disk"):
                self._writer.write_waypoint(num_labels, evaluated.rows, evaluated.judged)
        self._emit("waypoint", **summarise_waypoint(num_labels, self._writer.waypoint_rows(num_labels) or []))

    def commit(self, step: int, policy: Policy, engine: Engine) -> None:
        """The step is done: a killed run goes on after it."""
        self._writer.commit(step, policy, engine)
        self._emit("committed", step=step)

    def finish(self) -> dict[str, Any]:
        """Write and return the result."""
        result = self._writer.finish()
        self._emit("finished")
        return result

    def _emit(self, kind: str, **fields: Any) -> None:
        event = {"event": kind, "time": time.time(), **fields, **_spent(self._clock.lap()), **self._peaks()}
        self._writer.event(**event)
        if self._listen:
            self._listen(event)

    def _peaks(self) -> dict[str, float]:
        """The most memory that this process, and its part of an accelerator, have held since they began."""
        scale = 1 if sys.platform == "darwin" else 1024
        peaks = {"peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale}
        on_device = self._peak_device_bytes()
        if on_device is not None:
            peaks["peak_device_memory_mb"] = on_device
        return {name: round(value / 1e6, 1) for name, value in peaks.items()}


@contextmanager
def recording(
    experiment: Experiment, path: Path, listen: Callable[[dict[str, Any]], None] | None = None
) -> Iterator[Journal]:
    """The journal of a run that this process alone writes until the block ends. Raises SpecError as RunWriter.open."""
    writer = RunWriter(path)
    writer.open(experiment.manifest())
    try:
        yield Journal(writer, experiment.materials.clock, listen)
    finally:
        writer.close()


def _spent(stages: dict[str, Spent]) -> dict[str, Any]:
    """Seconds of each stage; tokens and model FLOPs of those in which a model ran, FLOPs where they can be counted; and
    the same of what was spared, if anything was."""
    spared = _counts({name: spent.spared for name, spent in stages.items()})
    return {
        "seconds": {name: round(spent.seconds, 4) for name, spent in stages.items()},
        **_counts({name: spent.work for name, spent in stages.items()}),
        **({"spared": spared} if any(spared.values()) else {}),
    }


def _counts(work: dict[str, Work]) -> dict[str, dict[str, float]]:
    return {
        "tokens": {name: done.num_tokens for name, done in work.items() if done.num_tokens},
        "gflop": {name: round(done.num_flops / 1e9, 6) for name, done in work.items() if done.num_flops},
    }
