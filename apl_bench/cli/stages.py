"""Where a run's time went, as a table of stages."""

from __future__ import annotations

from collections.abc import Iterator

from apl_bench.cli.console import MISSING, number, safe, table
from apl_bench.report.spending import Spending, Stage

COLUMNS = ("stage", "seconds", "share %", "tokens", "tokens/s", "GFLOP/s", "peak %")


def stage_lines(spending: Spending) -> Iterator[str]:
    """A title, the table with the longest stage first, and a line on memory and peak; none without events."""
    total = spending.total
    if not total.seconds:
        return
    starts = f" recorded in {spending.num_starts} starts" if spending.num_starts > 1 else ""
    yield f"Where the time went: {total.seconds:.1f} s{starts}"
    rows = [_row(name, stage, total.seconds) for name, stage in [*spending.longest_first(), ("all", total)]]
    yield from table(COLUMNS, rows).split("\n")
    yield ". ".join([_memory(spending), *_peaks(spending)]) + "."


def _row(name: str, stage: Stage, total_s: float) -> tuple[str, ...]:
    """A line of the table, a dash for what the stage has nothing of."""
    tokens = str(stage.num_tokens) if stage.num_tokens else MISSING
    rates = _ratio(stage.num_tokens, stage.counted_s, 0), _ratio(stage.gflop, stage.counted_s, 1)
    peak = _ratio(100 * stage.gflop, stage.possible_gflop, 1)
    return name, number(stage.seconds, 1), _ratio(100 * stage.seconds, total_s, 1), tokens, *rates, peak


def _ratio(part: float, whole: float, digits: int) -> str:
    return number(part / whole if part and whole else None, digits)


def _memory(spending: Spending) -> str:
    device = f", {spending.device_memory_mb:.0f} MB on the device" if spending.device_memory_mb else ""
    return f"Peak memory {spending.memory_mb:.0f} MB{device}"


def _peaks(spending: Spending) -> list[str]:
    if not spending.machines:
        return []
    rates = [machine["peak_gflop_per_s"] for machine in spending.machines]
    low, high = f"{min(rates):.0f}", f"{max(rates):.0f}"
    kinds = {(safe(m["device"]), safe(m["dtype"]), m["num_threads"]) for m in spending.machines}
    where = "; ".join(f"{device}, {dtype}, threads: {threads}" for device, dtype, threads in sorted(kinds))
    return [f"Measured matmul peak {low if low == high else f'{low} to {high}'} GFLOP/s ({where})"]
