"""What trackers are told of a run: its events as named numbers, each at one place of one axis; never a text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from apl_bench.tally import win_rate_error

Axis: TypeAlias = Literal["num_labels", "step"]
Place: TypeAlias = tuple[str, int]  # name of a value, and where on its axis it stands

WAYPOINT = (
    "win_rate", "win_rate_worst", "win_rate_best", "wins", "losses", "ties", "invalid", "kl", "mean_length",
    "repetition", "distinct", "perplexity",
)  # fmt: skip
ACQUIRED = ("num_preferences", "ties", "invalid", "num_generated_tokens", "num_scored_tokens")
TRAINED = ("first_epoch_loss", "last_epoch_loss", "num_updates")
MEMORY = ("peak_memory_mb", "peak_device_memory_mb")
# What a name begins with, up to its slash. No name is another one's folder: some trackers keep a file for each.
GROUPS: Mapping[Axis, tuple[str, ...]] = {
    "num_labels": ("waypoint",),
    "step": ("step", "strategy", "seconds", "tokens", "gflop_per_s", "memory", "total"),
}
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")  # what no tracker has to take as part of a name


@dataclass(frozen=True, slots=True)
class Row:
    """Values that stand at one place of an axis; the group in front of the slash in a name says which axis that is.

    `time_s` is when the event was written, in seconds since 1970.
    """

    axis: Axis
    x: int
    time_s: float
    values: Mapping[str, float]

    def without(self, places: set[Place]) -> Row:
        """The row without what stands at these places."""
        left = {name: value for name, value in self.values.items() if (name, self.x) not in places}
        return Row(self.axis, self.x, self.time_s, left)

    @property
    def places(self) -> set[Place]:
        """Where its values stand."""
        return {(name, self.x) for name in self.values}


@dataclass
class Spendings:
    """Seconds, tokens and GFLOP by stage, added up over events."""

    seconds: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    gflop: Counter[str] = field(default_factory=Counter)

    def add(self, event: Mapping[str, Any]) -> None:
        """Add what an event spent."""
        for name in ("seconds", "tokens", "gflop"):
            getattr(self, name).update(event.get(name, {}))

    def values(self, prefix: str = "") -> Iterator[tuple[str, float]]:
        """Seconds and tokens by stage and in all, and GFLOP/s of the stages in which a model ran."""
        for name, counts in (("seconds", self.seconds), ("tokens", self.tokens)):
            yield from ((f"{prefix}{name}/{_safe(stage)}", float(value)) for stage, value in counts.items())
            yield f"{prefix}{name}/all", math.fsum(counts.values())
        for stage, gflop in self.gflop.items():
            if self.seconds[stage] > 0:
                yield f"{prefix}gflop_per_s/{_safe(stage)}", gflop / self.seconds[stage]


class Rows:
    """Makes the events of one run, in the order of events.jsonl, into rows.

    A run that was killed tells some of what it did again when it goes on; each place is given once, as it was first
    told. The spending of a step is what the events up to its commit add up to, a broken attempt included.
    """

    def __init__(self) -> None:
        self._seen: set[Place] = set()
        self._bought: dict[int, int] = {}
        self._step = Spendings()
        self._all = Spendings()

    def of(self, event: Mapping[str, Any]) -> Row | None:
        """What an event adds; None where that is nothing new."""
        self._step.add(event)
        self._all.add(event)
        tell = {"waypoint": self._waypoint, "acquired": self._acquired, "trained": self._trained,
                "committed": self._committed, "finished": self._finished}.get(event["event"])  # fmt: skip
        row = tell(event).without(self._seen) if tell else None
        if row is None or not row.values:
            return None
        self._seen |= row.places
        return row

    def _waypoint(self, event: Mapping[str, Any]) -> Row:
        error = win_rate_error(event["wins"], event["losses"], event["ties"])
        values = _picked(event, WAYPOINT) | _picked({"win_rate_error": error})
        return _row("num_labels", event["num_labels"], event, _named("waypoint", values))

    def _acquired(self, event: Mapping[str, Any]) -> Row:
        self._bought[event["step"]] = event["num_pairs"]
        counts = _picked(event, ACQUIRED) | {"num_labels": float(sum(self._bought.values()))}
        values = _named("step", counts) | _named("strategy", _picked(event["diagnostics"]))
        return _row("step", event["step"], event, values)

    def _trained(self, event: Mapping[str, Any]) -> Row:
        return _row("step", event["step"], event, _named("step", _picked(event, TRAINED)))

    def _committed(self, event: Mapping[str, Any]) -> Row:
        spent, self._step = self._step, Spendings()
        return _row("step", event["step"], event, dict(spent.values()) | _named("memory", _picked(event, MEMORY)))

    def _finished(self, event: Mapping[str, Any]) -> Row:
        return _row("step", max(self._bought, default=0), event, dict(self._all.values("total/")))


def _row(axis: Axis, x: int, event: Mapping[str, Any], values: Mapping[str, float]) -> Row:
    return Row(axis, x, float(event["time"]), values)


def _picked(source: Mapping[str, Any], names: tuple[str, ...] | None = None) -> dict[str, float]:
    """The finite numbers among these fields (all of them by default); what is missing or null is left out."""
    found = {name: source.get(name) for name in (source if names is None else names)}
    return {name: float(value) for name, value in found.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)}  # fmt: skip


def _named(group: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{group}/{_safe(key)}": value for key, value in values.items()}


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name)
