"""The share of the measured matmul peak that a DPO update reaches: its model FLOPs a second, over those of the fastest
matrix product.

Model FLOPs are those of unpadded tokens (engine/flops.py): a shared prompt once, the head on predicted positions only,
three passes through weights that are trained and two through frozen ones. The plain count is what the same update takes
where a prompt runs once for each of its two completions: it says how fast a plain step would have to be.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from apl_bench.benchmarks import networks, shapes
from apl_bench.benchmarks.plan import Plan, seconds_of
from apl_bench.benchmarks.reference import with_reference
from apl_bench.benchmarks.results import Facts
from apl_bench.engine import dpo, shared
from apl_bench.engine.flops import Costs, measured_peak
from apl_bench.engine.network import Network

COLUMNS = ("trained", "update s", "turns from", "to", "peak GFLOP/s", "model GFLOP", "share of peak",
           "plain GFLOP", "share of peak, plain count")  # fmt: skip


@dataclass(frozen=True)
class Updates:
    """A network that is trained, on mini-batches of one size."""

    network: Network
    batch: dpo.TokenPairs
    shape: shapes.Shape

    def one(self, optimizer: torch.optim.Optimizer) -> None:
        """One update."""
        dpo.update(self.network, self.batch, self.shape.training, optimizer)

    @property
    def gflop(self) -> tuple[float, float]:
        """Model GFLOP of one, and what it would be with each prompt run twice."""
        costs, groups = Costs.of(self.network), self.batch.groups
        return costs.update(groups).num_flops / 1e9, costs.update(shared.apart(groups)).num_flops / 1e9


def measure(plan: Plan) -> Iterator[Facts]:
    """An update of all weights, and one of adapters alone."""
    rows, profiles = [], []
    for name, split in networks.TRAINED.items():
        updates = prepared(plan.shape, split(plan.shape, shapes.build(plan.shape)))
        rows.append([name, *_row(plan, updates)])
        optimizer = dpo.new_optimizer(updates.network, plan.shape.training)
        profiles.append(plan.profile(partial(updates.one, optimizer)))
    title = f"a DPO update on {plan.shape.batch_size} pairs, as a share of the measured matmul peak"
    yield Facts("peak", plan.shape.name, title, COLUMNS, rows, "\n\n".join(filter(None, profiles)))


def prepared(shape: shapes.Shape, theta_0: Network) -> Updates:
    """A policy and a mini-batch."""
    batch = with_reference(theta_0, shapes.pairs(shape, shape.batch_size))
    return Updates(theta_0.copy(("benchmark",)), batch, shape)


def _row(plan: Plan, updates: Updates) -> list[str]:
    """The peak is measured before each turn, and a turn is held against its own."""
    dtype = torch.bfloat16 if plan.shape.mixed else torch.float32
    optimizer = dpo.new_optimizer(updates.network, plan.shape.training)
    updates.one(optimizer)
    peaks, seconds = [], []
    for _ in range(plan.repeats):
        peaks.append(measured_peak(updates.network.device, dtype))
        seconds.append(seconds_of(lambda: updates.one(optimizer)))
    gflop, plain = updates.gflop
    shares = [f"{statistics.median(count / s / p for s, p in zip(seconds, peaks, strict=True)):.1%}"
              for count in (gflop, plain)]  # fmt: skip
    times = [f"{value:.3f}" for value in (statistics.median(seconds), min(seconds), max(seconds))]
    return [*times, f"{statistics.median(peaks):.0f}", f"{gflop:.0f}", shares[0], f"{plain:.0f}", shares[1]]
