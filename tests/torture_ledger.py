"""Writers of one ledger killed with SIGKILL at random moments: is every judgment there that was said to be kept?

    python -m tests.torture_ledger --kills 200

Each writer has threads that share one Ledger. A thread looks up its next judgments, says which of them it asks for (the
moment at which an oracle would be paid), adds them, and then says that they are kept. It says so with one write to a
file, which outlives it. After a kill another writer starts from the beginning in its place.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.types import Reply

NUM_THREADS = 2
SIZES = (10, 1000, 10_000, 400_000)  # of replies, in characters: a kill can cut a long write in two
FORK = multiprocessing.get_context("fork")  # a writer begins at once: nothing is imported again


@dataclass(frozen=True)
class Outcome:
    """What the writers said, and what the ledger has. In flight: asked for, and killed before it was kept."""

    num_kills: int
    num_kept: int
    num_lost: int  # said to be kept, and not there as it was
    num_in_flight: int
    num_asked_again: int  # asked for although it had been kept
    num_twice: int  # records that have the key of another one
    num_torn: int  # files whose last line was cut

    @property
    def is_sound(self) -> bool:
        return (self.num_lost, self.num_asked_again, self.num_twice) == (0, 0, 0)

    def __str__(self) -> str:
        return (f"{self.num_kills} kills, {self.num_kept} judgments kept: {self.num_lost} lost, "
                f"{self.num_asked_again} asked for again, {self.num_twice} recorded twice; "
                f"{self.num_in_flight} in flight at a kill, {self.num_torn} torn lines left out")  # fmt: skip


def write(folder: Path, said: Path, slot: int) -> None:
    """What a writer does until it is killed."""
    with Ledger(folder) as ledger:
        threads = [threading.Thread(target=_write_thread, args=(ledger, said, f"{slot}.{number}"))
                   for number in range(NUM_THREADS)]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _write_thread(ledger: Ledger, said: Path, name: str) -> None:
    rng = random.Random()
    handle = os.open(said, os.O_WRONLY | os.O_APPEND)
    number = 0
    while True:
        size = rng.randrange(1, 6)
        batch = [_record(name, number + i, f"{os.getpid()} {time.monotonic_ns()} {'x' * rng.choice(SIZES)}")
                 for i in range(size)]  # fmt: skip
        known = ledger.get_many([record.key for record in batch])
        missing = [record for record in batch if record.key not in known]
        if missing:
            _say(handle, "asked", missing)
            ledger.add(missing)
            _say(handle, "kept", missing)
        number += size


def _record(name: str, number: int, raw: str) -> Record:
    return Record.of({"model": "m", "name": name, "number": number}, Reply(raw, "m"))


def _say(handle: int, what: str, records: list[Record]) -> None:
    os.write(handle, json.dumps([what, [[record.key, record.reply.raw[:40]] for record in records]]).encode() + b"\n")


def torture(folder: Path, num_kills: int, num_writers: int, rng: random.Random) -> Outcome:
    """Start the writers, kill one of them at a time, and start it again; at the end kill them all and count."""
    said = [folder.parent / f"said-{slot}" for slot in range(num_writers)]
    for path in said:
        path.touch()
    writers = [_start(folder, path, slot) for slot, path in enumerate(said)]
    for _ in range(num_kills - num_writers):
        time.sleep(rng.uniform(0.0, 0.25))
        slot = rng.randrange(num_writers)
        _kill(writers[slot])
        writers[slot] = _start(folder, said[slot], slot)
    time.sleep(0.2)
    for writer in writers:
        _kill(writer)
    return _outcome(folder, said, num_kills)


def _start(folder: Path, said: Path, slot: int) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=write, args=(folder, said, slot))
    process.start()
    return process


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    assert process.exitcode is None, f"a writer ended by itself, with {process.exitcode}"
    process.kill()
    process.join()


def _outcome(folder: Path, said: list[Path], num_kills: int) -> Outcome:
    kept: dict[str, str] = {}
    num_again = num_in_flight = 0
    for path in said:
        for line in path.read_text(encoding="ascii").splitlines():
            what, records = json.loads(line)
            if what == "asked":
                num_again += sum(key in kept for key, _ in records)
                num_in_flight += len(records)
            else:
                kept.update(records)
                num_in_flight -= len(records)
    with Ledger(folder) as ledger:
        found = ledger.get_many(list(kept))
        num_lost = sum(key not in found or found[key].reply.raw[:40] != raw for key, raw in kept.items())
        times = Counter(record.key for record in ledger.records())
    num_torn = sum(not path.read_bytes().endswith(b"\n") for path in folder.glob("*.jsonl") if path.stat().st_size)
    return Outcome(num_kills, len(kept), num_lost, num_in_flight, num_again, sum(times.values()) - len(times), num_torn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        outcome = torture(Path(name) / "ledger", options.kills, options.writers, random.Random(options.seed))
    print(outcome)
    raise SystemExit(0 if outcome.is_sound else 1)


if __name__ == "__main__":
    main()
