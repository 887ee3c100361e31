"""Where runs' time went, by their events: sums over stages, whatever number of starts a run took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Stage:
    """Sums over events; `counted_s` are the seconds in which tokens were counted, `possible_gflop` what the machine's
    peak would have done in them."""

    seconds: float = 0.0
    counted_s: float = 0.0
    num_tokens: int = 0
    gflop: float = 0.0
    possible_gflop: float = 0.0

    def add(self, other: Stage) -> None:
        """Take in another stage's sums."""
        self.seconds += other.seconds
        self.counted_s += other.counted_s
        self.num_tokens += other.num_tokens
        self.gflop += other.gflop
        self.possible_gflop += other.possible_gflop


@dataclass(slots=True)
class Spending:
    """A run's stages, the machines it was started on (one for each start), and the most memory it held, MB."""

    stages: dict[str, Stage] = field(default_factory=lambda: defaultdict(Stage))
    machines: list[Mapping[str, Any]] = field(default_factory=list)
    num_starts: int = 0
    memory_mb: float = 0.0
    device_memory_mb: float = 0.0

    @classmethod
    def of(cls, events: Sequence[Mapping[str, Any]]) -> Spending:
        """The sum over all events that were recorded."""
        spending = cls()
        for event in events:
            spending._take(event)
        return spending

    def _take(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "begin":
            self.num_starts += 1
            self.machines += [event["machine"]] if "machine" in event else []
        peak = self.machines[-1]["peak_gflop_per_s"] if self.machines else 0.0
        tokens, gflop = event.get("tokens", {}), event.get("gflop", {})
        for name, seconds in event.get("seconds", {}).items():
            counted_s = seconds if "tokens" in event else 0.0
            work = (tokens.get(name, 0), gflop.get(name, 0.0), counted_s * peak)
            self.stages[name].add(Stage(seconds, counted_s, *work))
        self.memory_mb = max(self.memory_mb, event.get("peak_memory_mb", 0.0))
        self.device_memory_mb = max(self.device_memory_mb, event.get("peak_device_memory_mb", 0.0))

    @property
    def total(self) -> Stage:
        """All stages together."""
        whole = Stage()
        for stage in self.stages.values():
            whole.add(stage)
        return whole

    def longest_first(self) -> list[tuple[str, Stage]]:
        """Stages by name, the one that took most time first."""
        return sorted(self.stages.items(), key=lambda item: -item[1].seconds)
