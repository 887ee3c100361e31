"""A Ray cluster of several nodes on this machine, of which one is killed while it works; a program of its own, since
Ray keeps threads, sockets and signal handlers to itself.

    python -m tests.sweep.clustered ROOT NUM_NODES STRATEGIES SEEDS
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from apl_bench.asking.budget import Caps
from apl_bench.cli.run_options import parse_seeds
from apl_bench.sweep.claims import FOLDER
from apl_bench.sweep.executor import Note
from apl_bench.sweep.on_ray import Cluster, OnRay
from apl_bench.sweep.purse import Purse
from apl_bench.sweep.schedule import State, Sweep
from tests.sweep.tiny import cell, orders

MEMORY_BYTES = 80 << 20  # of each node's object store, through which next to nothing goes


class Printed:
    """Says what happens, for the test to read."""

    def began(self, state: State) -> None:
        print(f"begin {state.cell.name}", flush=True)

    def ended(self, state: State) -> None:
        assert state.last is not None
        print(f"{state.last.end.value} {state.cell.name} {state.last.sentence} {state.last.trace}", flush=True)

    def note(self, state: State, line: str) -> None:
        print(Note(line), flush=True)

    def tick(self) -> None:
        pass


def main(root: Path, num_nodes: int, strategies: str, seeds: str) -> None:
    """Sweep over the nodes, one of which is killed."""
    cells = [cell(root, name, seed) for seed in parse_seeds(seeds) for name in strategies.split(",")]
    cluster: Any = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": MEMORY_BYTES}
    )
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=MEMORY_BYTES) for _ in range(num_nodes)]
    cluster.wait_for_nodes()
    killer = threading.Thread(target=kill_one, args=(root, cluster, nodes), daemon=True)
    killer.start()
    wanted = Cluster(cluster.address, len(cells), 1, [root, root / "ledger"])
    executor = OnRay(orders(root / "ledger", root / ".shared"), wanted)
    states = [State(each) for each in cells]
    try:
        Sweep(states, executor, Purse(Caps()), Printed()).run()
    finally:
        executor.close()
        cluster.shutdown()
    print("all", *sorted({state.last.end.value for state in states if state.last}), flush=True)


def kill_one(root: Path, cluster: Any, nodes: list[Any]) -> None:
    """Once a run is complete and every node has one at work, kill a node."""
    while not list(root.rglob("result.json")) or len(list(root.glob(f"*/*/*/{FOLDER}"))) < len(nodes):
        time.sleep(0.01)
    print(f"killing a node of {len(nodes)}", flush=True)
    cluster.remove_node(nodes[0], allow_graceful=False)


if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
