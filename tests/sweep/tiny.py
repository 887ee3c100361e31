"""Cells that take a second, and workers in this process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from apl_bench.cli.asking import AskingOptions, means_for
from apl_bench.presets import Changes, resolve
from apl_bench.sweep.cells import Cell
from apl_bench.sweep.purse import Share
from apl_bench.sweep.worker import Orders, Outcome, Worker

SETTINGS = (
    "loop.budget=8", "loop.labels_per_step=4", "loop.prompts_per_step=8", "loop.oversample=2",
    "loop.num_entropy_samples=2", "loop.waypoints=[0, 4, 8]", "training.epochs=2", "training.batch_size=4",
    "evaluation.num_prompts=12", "evaluation.num_probe_prompts=4", "policy.num_threads=1",
)  # fmt: skip
OPTIONS = [word for setting in SETTINGS for word in ("--set", setting)]


def cell(root: Path, strategy: str, seed: int, *settings: str) -> Cell:
    return Cell(resolve("imdb", "lite", strategy, Changes((*SETTINGS, *settings)), seed), root)


def orders(ledger: Path, shared: Path | None = None, shared_bytes: int = 1 << 30) -> Orders:
    return Orders(partial(means_for, AskingOptions(ledger=ledger)), shared, shared_bytes)


def work(worker: Worker, cells: Sequence[Cell]) -> list[Outcome]:
    return [worker.work(each, Share(), print) for each in cells]


def written(path: Path) -> dict[str, bytes]:
    """What a run recorded that no clock enters, by name."""
    names = [path / "result.json", *path.glob("steps/*"), *path.glob("waypoints/*")]
    return {str(name.relative_to(path)): name.read_bytes() for name in names}
