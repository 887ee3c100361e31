"""What a sweep adds to its cells: sixteen runs by two workers of this machine, beside what the runs themselves took."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

from apl_bench.asking.asking import Asking
from apl_bench.asking.budget import Caps
from apl_bench.benchmarks.plan import Plan
from apl_bench.benchmarks.results import Facts
from apl_bench.experiment import Means
from apl_bench.judgments.ledger import Ledger
from apl_bench.presets import Changes, resolve
from apl_bench.sweep.cells import Cell
from apl_bench.sweep.executor import Executor
from apl_bench.sweep.local import Local
from apl_bench.sweep.purse import Purse
from apl_bench.sweep.schedule import State, Sweep
from apl_bench.sweep.worker import End, Orders

NUM_WORKERS = 2
STRATEGIES, SEEDS = ("random", "certainty", "uncertainty", "entropy"), range(4)
# Two steps of the lite preset with half of its test prompts: a cell of some 15 seconds.
SETTINGS = ("loop.budget=256", "loop.waypoints=[0, 256]", "evaluation.num_prompts=512")


class Timed:
    """Adds up the seconds that each worker was given to its cells."""

    def __init__(self) -> None:
        self.seconds: dict[int, list[float]] = defaultdict(list)
        self._slots: dict[Path, int] = {}

    def began(self, state: State) -> None:
        assert state.slot is not None
        self._slots[state.cell.path] = state.slot

    def ended(self, state: State) -> None:
        assert state.last is not None
        assert state.last.end is End.DONE, state.last
        self.seconds[self._slots[state.cell.path]].append(own_seconds(state.cell))

    def note(self, state: State, line: str) -> None:
        pass

    def tick(self) -> None:
        pass


def measure(_plan: Plan) -> Iterator[Facts]:
    """Run the grid in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        changes = Changes(SETTINGS)
        cells = [Cell(resolve("imdb", "lite", each, changes, seed), root) for seed in SEEDS for each in STRATEGIES]
        orders = Orders(partial(local_means, root / "ledger"), root / ".shared")
        with closing(Local(orders, [{}] * NUM_WORKERS)) as executor:
            yield of_cells(cells, executor)


def of_cells(cells: Sequence[Cell], executor: Executor) -> Facts:
    """The sweep's length beside its cells' own time: all of it, and that of the worker that had most."""
    timed, began = Timed(), time.perf_counter()
    Sweep([State(cell) for cell in cells], executor, Purse(Caps()), timed).run()
    took = time.perf_counter() - began
    own = sum(chain.from_iterable(timed.seconds.values()))
    most = max(sum(values) for values in timed.seconds.values())
    rows = [
        ["the sweep, from its first process to its last result", f"{took:.1f}", ""],
        [
            "its cells' own time, divided by its workers",
            f"{own / executor.num_slots:.1f}",
            f"{took * executor.num_slots / own - 1:.1%}",
        ],
        ["that of the worker with most of it", f"{most:.1f}", f"{took / most - 1:.1%}"],
    ]
    title = (f"{len(cells)} cells on local with {executor.num_slots} workers; own time: what events.jsonl counts, "
             "loading included")  # fmt: skip
    return Facts("sweep", "", title, ("", "seconds", "the sweep is longer by"), rows)


@contextmanager
def local_means(folder: Path, _caps: Caps, _tell: Callable[[str], None]) -> Iterator[Means]:
    """A ledger in this folder; local oracles need no more."""
    with Ledger(folder) as ledger, Asking() as asking:
        yield Means(ledger, asking)


def own_seconds(cell: Cell) -> float:
    """All stages of a run, as it recorded them."""
    seconds: Counter[str] = Counter()
    for line in (cell.path / "events.jsonl").read_text(encoding="utf-8").splitlines():
        seconds.update(json.loads(line)["seconds"])
    return sum(seconds.values())
