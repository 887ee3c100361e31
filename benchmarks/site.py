"""Building the leaderboard's site from fifty submissions of 36 runs: seconds, memory, and how large what one loads is.

The submissions are made (made_submissions.py): of the size of real ones in all that a build reads. Once they are all of
one table and one group, so that each of 151 different rows is compared with every other; once they are spread over ten
tables.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from apl_bench.benchmarks.children import in_a_child, peak_memory_mb
from apl_bench.benchmarks.made_submissions import Made, entry_of, write
from apl_bench.benchmarks.results import Facts
from apl_bench.leaderboard.site.boards import boards
from apl_bench.leaderboard.site.build import INDEX_FILES, build
from apl_bench.leaderboard.site.history import append
from apl_bench.leaderboard.site.store import Store

if TYPE_CHECKING:
    from apl_bench.benchmarks.plan import Plan

MODULE = "apl_bench.benchmarks.site"
NUM_SUBMISSIONS = 50
TABLES = (1, 10)


def measure(_plan: Plan) -> Iterator[Facts]:
    """Each layout in a process of its own, so that its peak memory is its own."""
    rows = []
    for num_tables in TABLES:
        with tempfile.TemporaryDirectory() as name:
            rows.append(cast("list[str]", in_a_child(MODULE, name, str(NUM_SUBMISSIONS), str(num_tables))))
    columns = ("tables", "rows", "seconds", "peak MB", "index.html kB", "index files kB", "largest page kB")
    yield Facts("site", "", f"a site of {NUM_SUBMISSIONS} submissions, each of 36 runs", columns, rows)


def made(num_submissions: int, num_tables: int) -> list[Made]:
    """So many submissions of random and three strategies of their own, nine seeds each."""
    skills = [{"random": 0.75, f"idea-{n}-a": 0.76, f"idea-{n}-b": 0.78, f"idea-{n}-c": 0.8}
              for n in range(num_submissions)]  # fmt: skip
    return [Made(id=f"group-{n:02}", name=f"Ideas of group {n}", submitter=f"Group {n}, University of Somewhere",
                 skill=skill, preset=f"lite-{n % num_tables}", note="A note of two sentences. As people write them.")
            for n, skill in enumerate(skills)]  # fmt: skip


def of_layout(folder: Path, num_submissions: int, num_tables: int) -> list[str]:
    """The row of figures for so many submissions in so many tables."""
    store = Store.beside(folder / "leaderboard" / "submissions")
    for one in made(num_submissions, num_tables):
        entry = entry_of(one)
        write(store, entry)
        for event in entry.events:
            append(store.history, event)
    start = time.perf_counter()
    files = {name: len(text.encode()) for name, text in build(store, folder / "site").items()}
    seconds = time.perf_counter() - start
    num_rows = sum(len(board.rows) for board in boards(store.entries()))
    kilobytes = (files["index.html"], sum(files[name] for name in INDEX_FILES), max(files.values()))
    return [str(num_tables), str(num_rows), f"{seconds:.1f}", f"{peak_memory_mb():.0f}",
            *(f"{num / 1000:.0f}" for num in kilobytes)]  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(of_layout(Path(sys.argv[1]), *map(int, sys.argv[2:]))))
