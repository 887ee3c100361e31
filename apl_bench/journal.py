"""What a run says while it goes: each stage is recorded before the next begins, timed, and told to whoever listens."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from apl_bench.acquisition import Step
from apl_bench.clock import Clock
from apl_bench.protocols import Engine, Policy
from apl_bench.records import RunWriter
from apl_bench.summary import summarise_step, summarise_waypoint
from apl_bench.types import Preference, TrainingReport


class Journal:
    """The runner's view of a run directory; `listen` gets every event as it is written to events.jsonl."""

    def __init__(self, writer: RunWriter, clock: Clock, listen: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._writer = writer
        self._clock = clock
        self._listen = listen
        self._waypoints = set(writer.spec.loop.waypoints)

    def resume(self, engine: Engine) -> tuple[int, Policy, list[Preference]]:
        """Steps done, the policy and the preferences of a run that stopped; nothing and theta_0 for a new one."""
        done, policy, labelled = self._writer.resume(engine)
        loop = self._writer.spec.loop
        self._emit("begin", steps_done=done, num_steps=loop.num_steps, num_labels=done * loop.labels_per_step)
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
        scale = 1 if sys.platform == "darwin" else 1024
        event = {
            "event": kind,
            "time": time.time(),
            **fields,
            "seconds": {name: round(value, 4) for name, value in self._clock.lap().items()},
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6, 1),
        }
        self._writer.event(**event)
        if self._listen:
            self._listen(event)
