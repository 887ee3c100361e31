"""Writers at the same time: threads of one ledger, ledgers of one process, processes, and processes that are killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from apl_bench.judgments import catalog as catalog_module
from apl_bench.judgments import ledger as ledger_module
from apl_bench.judgments.files import LedgerError
from apl_bench.judgments.index import Index
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.types import Reply
from tests.torture_ledger import Outcome, torture

NUM_THREADS, NUM_BATCHES, BATCH = 6, 15, 4


def record(number: int, raw: str) -> Record:
    return Record.of({"model": "m", "repeat": number}, Reply(raw, "m"))


def together(works: Sequence[Callable[[], None]]) -> None:
    """Run them in threads that start at once; the first failure is raised."""
    failures: list[BaseException] = []
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        try:
            gate.wait(timeout=60)
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    if failures:
        raise failures[0]


def write_all(ledger: Ledger, name: str, seen: dict[str, list[str]]) -> None:
    """Add what every other writer adds as well, and note whose answers are the answers."""
    order = list(range(NUM_BATCHES))
    random.Random(name).shuffle(order)
    answers: dict[int, str] = {}
    for batch in order:
        numbers = range(batch * BATCH, (batch + 1) * BATCH)
        mine = [record(number, name) for number in numbers]
        ledger.add(mine)
        found = ledger.get_many([item.key for item in mine])
        answers |= {number: found[item.key].reply.raw for number, item in zip(numbers, mine, strict=True)}
    seen[name] = [answers[number] for number in range(NUM_BATCHES * BATCH)]


def assert_agreed(folder: Path, seen: dict[str, list[str]]) -> None:
    """All writers saw the same answers, each key has one record, and nothing is lost."""
    assert len(seen) == NUM_THREADS
    assert len(set(map(tuple, seen.values()))) == 1
    lines = [Record.from_line(line) for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    assert Counter(item.key for item in lines) == Counter(record(n, "").key for n in range(NUM_BATCHES * BATCH))
    with Ledger(folder) as again:
        assert again.notices == []
        found = [again.get(record(number, "").key) for number in range(NUM_BATCHES * BATCH)]
        assert [item and item.reply.raw for item in found] == next(iter(seen.values()))


def test_threads_of_one_ledger_lose_nothing_and_agree(tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}
    with Ledger(tmp_path / "ledger") as ledger:
        together([lambda name=f"t{i}": write_all(ledger, name, seen) for i in range(NUM_THREADS)])  # type: ignore[misc]
    assert_agreed(tmp_path / "ledger", seen)


def test_ledgers_of_one_process_lose_nothing_and_agree(tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}

    def work(name: str) -> None:
        with Ledger(tmp_path / "ledger") as ledger:
            write_all(ledger, name, seen)

    together([lambda name=f"t{i}": work(name) for i in range(NUM_THREADS)])  # type: ignore[misc]
    assert_agreed(tmp_path / "ledger", seen)


@contextmanager
def _no_lock(folder: Path) -> Iterator[None]:
    yield


def test_without_the_folders_lock_ledgers_of_one_process_would_write_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "exclusively", _no_lock)
    with Ledger(tmp_path / "ledger") as one, Ledger(tmp_path / "ledger") as other:
        append = one._append

        def overtaken(data: bytes) -> str:
            other.add([record(0, "B")])
            return append(data)

        monkeypatch.setattr(one, "_append", overtaken)
        one.add([record(0, "A")])
        assert len(list(one.records())) == 2
    monkeypatch.undo()


def test_an_index_that_breaks_under_many_threads_is_rebuilt_once(tmp_path: Path) -> None:
    records = [record(number, "A") for number in range(40)]
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.add(records)
        cache = ledger._catalog._index._cache
        cache._con.execute("UPDATE Cache SET value = ? WHERE key NOT LIKE '@%'", (b"0 5 a.jsonl",))

        def work() -> None:
            for item in records:
                assert ledger.get(item.key) == item

        together([work] * NUM_THREADS)
        assert len(ledger.notices) == 1
    assert len(list((tmp_path / "ledger").glob("index.*"))) == 1


def test_a_thread_that_reads_while_another_one_rebuilds_the_index_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[object] = []
    readers: list[threading.Thread] = []

    def read(ledger: Ledger) -> None:
        try:
            answers.append(ledger.get(record(0, "A").key))
        except LedgerError as error:
            answers.append(error)

    def slow_index(folder: Path) -> Index:
        """The old index has been moved aside by now, and the new one is not there."""
        readers.append(threading.Thread(target=read, args=(ledger,)))
        readers[-1].start()
        readers[-1].join(timeout=0.5)
        return Index(folder)

    with Ledger(tmp_path / "ledger") as ledger:
        ledger.add([record(0, "A")])
        monkeypatch.setattr(catalog_module, "Index", slow_index)
        ledger.rebuild()
        readers[0].join(timeout=60)
        assert answers == [record(0, "A")]


def test_a_forked_process_writes_to_a_file_of_its_own(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.types import Reply
ledger = Ledger(Path({str(tmp_path / "ledger")!r}))
def add(number):
    ledger.add([Record.of({{"model": "m", "repeat": number}}, Reply("A", "m"))])
add(0)
child = os.fork()
if child == 0:
    add(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
add(2)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    with Ledger(tmp_path / "ledger") as ledger:
        assert all(ledger.get(record(number, "").key) for number in range(3))
    assert len(list((tmp_path / "ledger").glob("*.jsonl"))) == 2


def test_killed_writers_lose_nothing_that_they_said_was_kept() -> None:
    command = [sys.executable, "-m", "tests.torture_ledger", "--kills", "10", "--writers", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("10 kills, "), done.stdout
    assert " 0 lost, 0 asked for again, 0 recorded twice" in done.stdout


def test_the_torture_script_sees_what_is_lost() -> None:
    sound = Outcome(10, 100, num_lost=0, num_in_flight=3, num_asked_again=0, num_twice=0, num_torn=1)
    assert sound.is_sound
    assert not Outcome(10, 100, num_lost=1, num_in_flight=0, num_asked_again=0, num_twice=0, num_torn=0).is_sound
    assert callable(torture)
