"""Where a run's time went, by its events: a table of stages, whatever number of starts the run took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apl_bench.cli.console import MISSING, number, safe, table

COLUMNS = ("stage", "seconds", "share %", "tokens", "tokens/s", "GFLOP/s", "peak %")


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

    def row(self, name: str, total_s: float) -> tuple[str, ...]:
        """Its line of the table, a dash for what it has nothing of."""
        tokens = str(self.num_tokens) if self.num_tokens else MISSING
        rates = _ratio(self.num_tokens, self.counted_s, 0), _ratio(self.gflop, self.counted_s, 1)
        peak = _ratio(100 * self.gflop, self.possible_gflop, 1)
        return name, number(self.seconds, 1), _ratio(100 * self.seconds, total_s, 1), tokens, *rates, peak


def _ratio(part: float, whole: float, digits: int) -> str:
    return number(part / whole if part and whole else None, digits)


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

    def lines(self) -> Iterator[str]:
        """A title, the table with the longest stage first, and a line on memory and peak; none without events."""
        total = self.total
        if not total.seconds:
            return
        starts = f" recorded in {self.num_starts} starts" if self.num_starts > 1 else ""
        yield f"Where the time went: {total.seconds:.1f} s{starts}"
        ordered = sorted(self.stages.items(), key=lambda item: -item[1].seconds)
        rows = [stage.row(name, total.seconds) for name, stage in [*ordered, ("all", total)]]
        yield from table(COLUMNS, rows).split("\n")
        yield ". ".join([self._memory(), *self._peaks()]) + "."

    def _memory(self) -> str:
        device = f", {self.device_memory_mb:.0f} MB on the device" if self.device_memory_mb else ""
        return f"Peak memory {self.memory_mb:.0f} MB{device}"

    def _peaks(self) -> list[str]:
        if not self.machines:
            return []
        rates = [machine["peak_gflop_per_s"] for machine in self.machines]
        low, high = f"{min(rates):.0f}", f"{max(rates):.0f}"
        kinds = {(safe(m["device"]), safe(m["dtype"]), m["num_threads"]) for m in self.machines}
        where = "; ".join(f"{device}, {dtype}, threads: {threads}" for device, dtype, threads in sorted(kinds))
        return [f"Measured matmul peak {low if low == high else f'{low} to {high}'} GFLOP/s ({where})"]
