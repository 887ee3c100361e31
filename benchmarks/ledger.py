"""A ledger of the paper's whole grid, 350,000 judgments of about 1.2 kB: opened, replayed, searched, shared, checked.

Each measurement is a process of its own, so that its peak memory is its own; a tenth of the ledger goes first, to show
what grows with it. Sockets are blocked in the replay.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

from apl_bench.benchmarks.children import in_a_child, peak_memory_mb
from apl_bench.benchmarks.results import Facts
from apl_bench.judging import ORDER_SALT as SALT
from apl_bench.judging import Judging, Manner, Mode, presented
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.judgments.survey import survey
from apl_bench.judgments.verify import verify
from apl_bench.oracles.classifier import Classifier
from apl_bench.types import Completion, Pair, Prompt, Reply, Verdict

if TYPE_CHECKING:
    from apl_bench.benchmarks.plan import Plan

MODULE = "apl_bench.benchmarks.ledger"

NUM_JUDGMENTS = 350_000
NUM_REPLAYED, BATCH = 50_000, 256
TEXT = ("the film was a good bad movie and I liked it very much plot acting director scene never boring great story of "
        "which one would say that nothing in it is true but all of it could be")  # fmt: skip
WORDS = TEXT.split()
RAW = ('{{"first":{{"brokenness":0.12,"repetition":0.5,"sentiment":1.23}},"score_first":{0},"score_second":-0.2,'
       '"second":{{"brokenness":0.1,"repetition":0.2,"sentiment":0.1}}}}')  # fmt: skip


def pair(number: int) -> Pair:
    """The pair of this number: a short prompt and two completions of about 80 words."""
    rng = random.Random(number)
    prompt, first, second = (" ".join(rng.choices(WORDS, k=num)) for num in (10, 70, 70))
    return Pair(Prompt(str(number), f"{number} {prompt}"), *(Completion(text, (), True) for text in (first, second)))


def generate(folder: Path, num: int) -> str:
    """Write the files as ten writers would have, without an index."""
    oracle = Classifier("oracle")
    folder.mkdir()
    num_bytes = 0
    for writer in range(10):
        with (folder / f"20260101T00000{writer}Z-host-1-ab.jsonl").open("wb") as file:
            for number in range(writer, num, 10):
                request = oracle.request(presented(pair(number), "random", SALT))
                reply = Reply(RAW.format(0.6 if number % 2 else -0.3), "classifier", latency_s=0.2)
                num_bytes += file.write(Record.of(request, reply).to_line())
    return f"{num_bytes / num:.0f} bytes each"


def open_(folder: Path, _num: int) -> str:
    with Ledger(folder) as ledger:
        return "; ".join(ledger.notices)


def replay(folder: Path, num: int) -> str:
    """Judge pairs in batches, in an order of their own."""
    pairs = [pair(number) for number in random.Random(0).sample(range(num), min(num, NUM_REPLAYED))]
    socket.socket.connect = _refuse  # type: ignore[method-assign]
    with Ledger(folder) as ledger:
        judging = Judging(Classifier("oracle"), ledger, Manner(Mode.REPLAY, "random"))
        start, start_cpu = time.perf_counter(), time.process_time()
        judged = [item for i in range(0, len(pairs), BATCH) for item in judging.judge(pairs[i : i + BATCH])]
        seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    assert all(item.verdict in (Verdict.FIRST, Verdict.SECOND) for item in judged)
    return f"{len(judged) / seconds:.0f} judgments a second ({len(judged) / cpu_s:.0f} a second of CPU)"


def _refuse(*address: object) -> NoReturn:
    raise OSError(f"a replay tried to connect to {address}")


def nearest(folder: Path, num: int) -> str:
    """The last question that was asked, with another model: found at the end, after all were compared."""
    oracle = Classifier("oracle")
    with Ledger(folder) as ledger:
        wanted = {**oracle.request(presented(pair(num - 1), "random", SALT)), "model": "another"}
        start = time.perf_counter()
        found = ledger.nearest(wanted)
        assert found is not None
        assert [item.field for item in found.differences] == ["model"]
        return f"{time.perf_counter() - start:.1f} s for the search"


def export(folder: Path, _num: int) -> str:
    with Ledger(folder) as ledger:
        pack = ledger.export(folder / "packs" / "grid")
    return f"{pack.stat().st_size / 1e6:.1f} MB"


def import_(folder: Path, num: int) -> str:
    (pack,) = (folder / "packs").iterdir()
    with Ledger(folder / "imported") as ledger:
        done = ledger.import_pack(pack)
    assert done.num_new == num
    return ""


def verify_(folder: Path, num: int) -> str:
    found = verify(folder)
    assert (found.num_records, found.bad) == (num, ())
    return ""


def stats(folder: Path, num: int) -> str:
    assert survey(folder).num_judgments == num
    return ""


def add(folder: Path, _num: int) -> str:
    """One by one, each durable, and found again."""
    with Ledger(folder / "added") as ledger:
        records = [Record.of({"number": number, "text": "x" * 900}, Reply("A", "m")) for number in range(300)]
        start = time.perf_counter()
        for record in records:
            ledger.add([record])
        one_by_one = len(records) / (time.perf_counter() - start)
        many = [Record.of({"many": number, "text": "x" * 900}, Reply("A", "m")) for number in range(5000)]
        start = time.perf_counter()
        for i in range(0, len(many), 100):
            ledger.add(many[i : i + 100])
        return f"{one_by_one:.0f} a second one by one, {len(many) / (time.perf_counter() - start):.0f} by hundreds"


STAGES: dict[str, Callable[[Path, int], str]] = {
    "generate": generate,
    "open without index": open_,
    "open with index": open_,
    "replay": replay,
    "nearest": nearest,
    "stats": stats,
    "verify": verify_,
    "export": export,
    "import": import_,
    "add": add,
}


def measure(_plan: Plan) -> Iterator[Facts]:
    """The whole ledger, and a tenth of it."""
    for num in (NUM_JUDGMENTS // 10, NUM_JUDGMENTS):
        yield of_ledger(num)


def of_ledger(num: int) -> Facts:
    """A row for each stage: seconds, CPU seconds and peak memory of its process, and its own figure."""
    with tempfile.TemporaryDirectory() as name:
        folder = str(Path(name) / "ledger")
        rows = [cast("list[str]", in_a_child(MODULE, stage, folder, str(num))) for stage in STAGES]
    columns = ("stage", "seconds", "CPU seconds", "peak MB", "figure")
    return Facts("ledger", "", f"a ledger of {num} judgments", columns, rows)


def _stage(name: str, folder: Path, num: int) -> list[str]:
    start = time.perf_counter()
    said = STAGES[name](folder, num)
    seconds, cpu_s = time.perf_counter() - start, time.process_time()
    return [name, f"{seconds:.2f}", f"{cpu_s:.2f}", f"{peak_memory_mb():.0f}", said]


if __name__ == "__main__":
    print(json.dumps(_stage(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
