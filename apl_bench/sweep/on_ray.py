"""Workers as actors of a Ray cluster, which nodes may leave at any time.

Nothing goes through Ray but cells and outcomes: what is done stands in the run directories, on a file system that all
nodes share, and whoever comes next goes on from there, here or with another executor.
"""

from __future__ import annotations

import importlib
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from apl_bench.registry import NO_PLUGINS
from apl_bench.sweep.cells import Cell
from apl_bench.sweep.executor import Report
from apl_bench.sweep.purse import Share
from apl_bench.sweep.worker import End, Orders, Outcome, Worker
from apl_bench.types import SpecError

HANDED_ON = (NO_PLUGINS, "APL_BENCH_CACHE_DIR", "CI")  # variables that say what is run; keys are the nodes' own


@dataclass(frozen=True)
class Cluster:
    """Where to run: Ray's address (None: what RAY_ADDRESS says, or a cluster of this machine alone), how many workers
    at most, and the cores of each. Folders are those that every node has to see."""

    address: str | None
    most_workers: int
    num_cores: int
    folders: Sequence[Path]


class OnRay:
    """An actor for each slot; it holds its policy from cell to cell. An actor that is gone is replaced where there is
    room for it."""

    def __init__(self, orders: Orders, cluster: Cluster) -> None:
        """Raises SpecError where Ray is not installed, or cannot be reached."""
        self._ray = ray = imported()
        self._orders, self._cluster = orders, cluster
        self._ours = not ray.is_initialized()
        if self._ours:
            try:
                ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
            except (ConnectionError, ValueError) as error:
                raise SpecError(f"no Ray cluster at {cluster.address!r}: {error}. Start one with ray start --head, "
                                "or leave --address out for a cluster of this machine alone") from error  # fmt: skip
        self._probes = [_probe(folder) for folder in cluster.folders]
        self._starting: dict[int, _Started] = {}
        self._hands: dict[int, Any] = {}
        self._busy: dict[int, Any] = {}

    @property
    def num_slots(self) -> int:
        """Cells at a time: as many as the cluster has room for now."""
        total = self._ray.cluster_resources()
        fitting = int(min(total.get(kind, 0) // amount for kind, amount in self._need().items()))
        return max(1, min(fitting, self._cluster.most_workers))

    def free(self) -> list[int]:
        """Slots whose actor waits for a cell; those without one get one, for a later call."""
        taken = {*self._hands, *self._starting}
        for slot in sorted(set(range(self._cluster.most_workers)) - taken)[: max(0, self.num_slots - len(taken))]:
            self._starting[slot] = self._start()
        self._welcome()
        return [slot for slot in self._hands if slot not in self._busy]

    def submit(self, slot: int, cell: Cell, share: Share) -> None:
        """Give a free slot a cell."""
        self._busy[slot] = self._hands[slot].work.remote(cell, share)

    def poll(self, timeout_s: float) -> list[Report]:
        """What workers came to, at most after so long."""
        waiting = {reference: slot for slot, reference in self._busy.items()}
        done, _ = self._ray.wait(list(waiting), num_returns=1, timeout=timeout_s)
        return [Report(waiting[reference], self._outcome(waiting[reference])) for reference in done]

    def close(self) -> None:
        """Stop the workers; what they were at is claimed by nobody once their processes are gone."""
        for hand in [*self._hands.values(), *(started.hand for started in self._starting.values())]:
            self._ray.kill(hand)
        for probe in self._probes:
            probe.unlink(missing_ok=True)
        if self._ours:
            self._ray.shutdown()

    def _outcome(self, slot: int) -> Outcome:
        reference = self._busy.pop(slot)
        try:
            outcome: Outcome = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:  # the node, the process or the way to it
            self._ray.kill(self._hands.pop(slot))
            return Outcome(End.DIED, f"its actor is gone ({type(error).__name__})")
        return outcome

    def _start(self) -> _Started:
        need = self._need()
        options = {"num_cpus": need["CPU"], "num_gpus": need.get("GPU", 0), "max_restarts": 0, "max_task_retries": 0}
        environment = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
        hand = self._ray.remote(Hand).options(**options).remote(self._orders, environment)
        return _Started(hand, hand.unseen.remote(self._probes))

    def _welcome(self) -> None:
        """Take on the actors that have started. Raises SpecError where one does not see what it should."""
        for slot, started in list(self._starting.items()):
            if not self._ray.wait([started.unseen], timeout=0)[0]:
                continue
            del self._starting[slot]
            try:
                host, unseen = self._ray.get(started.unseen)
            except self._ray.exceptions.RayError:  # its node left; the next call starts another
                continue
            if unseen:
                raise SpecError(f"{host} does not see {unseen[0].parent}; expected folders that all nodes of the "
                                "cluster share: choose --out and --ledger there")  # fmt: skip
            self._hands[slot] = started.hand

    def _need(self) -> Mapping[str, float]:
        """What an actor takes of a node: cores, and a GPU where the cluster has any."""
        gpus = self._ray.cluster_resources().get("GPU", 0)
        return {"CPU": self._cluster.num_cores, **({"GPU": 1} if gpus else {})}


@dataclass(frozen=True, slots=True)
class _Started:
    """An actor and what it will say of the folders."""

    hand: Any
    unseen: Any


class Hand:
    """The actor."""

    def __init__(self, orders: Orders, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._worker = Worker(orders)

    def unseen(self, probes: Sequence[Path]) -> tuple[str, list[Path]]:
        """This node's name, and which of the files it does not see."""
        return socket.gethostname(), [path for path in probes if not path.exists()]

    def work(self, cell: Cell, share: Share) -> Outcome:
        """One attempt at a cell."""
        notes: list[str] = []
        outcome = self._worker.work(cell, share, notes.append)
        return replace(outcome, notices=(*notes, *outcome.notices))


def imported() -> Any:
    """Ray. Raises SpecError with the command that provides it where it is not installed."""
    if find_spec("ray") is None:
        raise SpecError("--executor ray needs Ray: pip install 'apl-bench[ray]', on every node")
    return importlib.import_module("ray")


def _probe(folder: Path) -> Path:
    """A file that every node has to see."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".probe-{secrets.token_hex(8)}"
    path.touch()
    return path
