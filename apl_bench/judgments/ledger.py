"""The ledger: every judgment that was ever bought, found by the key of its request.

A folder of JSONL files is the truth. Each process appends to a file of its own, under the folder's lock, so that one
key has one record whoever asks at the same time: the first writer wins. Everything else is derived and can be deleted:
`index/` (rebuilt from the files) and `quarantine/` (copies of lines that are no records).
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from apl_bench.judgments.files import (
    FILE_NAME,
    BadLine,
    LedgerError,
    Line,
    Writer,
    exclusively,
    explained,
    quarantine,
    quarantine_path,
    read_at,
    read_lines,
)
from apl_bench.judgments.index import Index, IndexCorruptError, Location
from apl_bench.judgments.record import Record, RecordError

_BATCH_LINES, _BATCH_BYTES = 1000, 2**23


class Ledger:
    """Records by key. `notices` collects one sentence for each thing that a user should know; who prints is the caller.

    Opening reads what other processes wrote since the index was last here; a miss looks again.
    """

    def __init__(self, folder: Path, open_writer: Callable[[Path], Writer] = Writer) -> None:
        """Open the ledger in `folder`, which is made if need be. Raises LedgerError where it cannot be used."""
        self.folder = folder
        self.notices: list[str] = []
        self._open_writer = open_writer
        self._writer: Writer | None = None
        self._read_up_to: dict[str, int] = {}
        self._passed_over: set[str] = set()
        with explained("open", folder):
            folder.mkdir(parents=True, exist_ok=True)
        with self._locked("open"):
            self._notice_quarantine()
            self._open_index()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files. Nothing is lost without it: `add` returns when its records are on the disk."""
        self._drop_writer()
        self._index.close()

    def get(self, key: str) -> Record | None:
        """The record of this key, None where nobody has written one."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Record]:
        """The records that are there, by key; each was read from its file and checked just now."""
        wanted = list(dict.fromkeys(keys))
        try:
            found = self._look_up(wanted)
        except IndexCorruptError:
            found = {}  # looked up again under the lock, where the index may be rebuilt
        missing = [key for key in wanted if key not in found]
        if missing:
            with self._locked("read"):
                found |= self._look_up_surely(missing)
        return {key: found[key] for key in wanted if key in found}

    def add(self, records: Iterable[Record]) -> None:
        """Write the records whose keys are new; on return they are on the disk. The first writer of a key wins.

        Raises LedgerError where that fails; what was added before stays.
        """
        given: dict[str, Record] = {}
        for record in records:
            given.setdefault(record.key, record)
        with self._locked("write to"):
            known = self._look_up_surely(list(given))
            lines = [record.to_line() for record in given.values() if record.key not in known]
            if lines:
                self._append(b"".join(lines))
                self._look_up_surely([])

    def records(self) -> Iterator[Record]:
        """Every record, file by file, read and checked; bad lines and a torn last one are passed over."""
        for name in self._files():
            for line in read_lines(self.folder / name, 0):
                record = _read(line)
                if isinstance(record, Record):
                    yield record

    @contextmanager
    def _locked(self, action: str) -> Iterator[None]:
        with explained(action, self.folder), exclusively(self.folder):
            yield

    def _files(self) -> list[str]:
        """Names of the ledger's files, oldest first (they begin with the time at which they were opened)."""
        with os.scandir(self.folder) as entries:
            found = {entry.name: bool(FILE_NAME.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False)
                     for entry in entries if entry.name.endswith(".jsonl")}  # fmt: skip
        for name in sorted(name for name, readable in found.items() if not readable and name not in self._passed_over):
            self._passed_over.add(name)
            self.notices.append(f"{name!r} in {self.folder} was not read; expected a file, not a link, with a name of "
                                "letters, digits, '.', '_' and '-'")  # fmt: skip
        return sorted(name for name, readable in found.items() if readable)

    def _look_up(self, keys: Sequence[str]) -> dict[str, Record]:
        return {key: self._read_record(key, location) for key in keys if (location := self._index.find(key))}

    def _read_record(self, key: str, location: Location) -> Record:
        """The record at a place that the index names. Raises IndexCorruptError unless it is there, whole."""
        try:
            record = Record.from_line(read_at(self.folder, location.file, location.offset, location.length))
        except (OSError, RecordError) as error:
            raise IndexCorruptError(f"there is no record where it says, {location}: {error}") from None
        if record.key != key:
            raise IndexCorruptError(f"it gives the record of another key for {key}")
        return record

    def _look_up_surely(self, keys: Sequence[str]) -> dict[str, Record]:
        """The records of these keys after reading what is new in the files, with an index rebuilt if it was wrong."""
        try:
            self._catch_up()
            return self._look_up(keys)
        except IndexCorruptError as error:
            wrong = error
        try:
            self._index.close()
            self._rebuild_index(wrong)
            return self._look_up(keys)
        except IndexCorruptError as error:
            raise LedgerError(f"the files of the ledger {self.folder} change while they are read ({error}). They may "
                              "only grow: stop what edits them, and run again") from None  # fmt: skip

    def _append(self, data: bytes) -> None:
        if self._writer is None or self._writer.pid != os.getpid():
            self._writer = self._open_writer(self.folder)
        try:
            self._writer.append(data)
        except OSError:
            self._drop_writer()  # its last line may be torn: nothing must be written behind that
            raise

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open_index(self) -> None:
        try:
            self._index = Index(self.folder / "index")
            self._index.check(self._files())
            self._catch_up()
        except IndexCorruptError as error:
            self._rebuild_index(error)

    def _rebuild_index(self, why: IndexCorruptError) -> None:
        """Move the index aside and make a new one from the files."""
        aside = f"index.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
        (self.folder / "index").rename(self.folder / aside)
        self.notices.append(f"the index of the ledger {self.folder} was not to be believed ({why}); it was moved to "
                            f"{aside} and rebuilt from the ledger's files")  # fmt: skip
        self._read_up_to.clear()
        self._index = Index(self.folder / "index")
        self._catch_up()

    def _catch_up(self) -> None:
        """Index what the files hold and the index has not seen."""
        for name in self._files():
            size = (self.folder / name).stat().st_size
            if self._read_up_to.get(name) != size:
                self._read_new(name, size)
                self._read_up_to[name] = size

    def _read_new(self, name: str, size: int) -> None:
        start = self._index.progress(name).end
        if start > size:
            raise IndexCorruptError(f"it has read {start} bytes of {name}, which has {size}")
        if start == 0:
            quarantine_path(self.folder, name).unlink(missing_ok=True)
        num_bad, first = 0, None
        for batch in _batches(read_lines(self.folder / name, start)):
            bad = self._index_batch(name, batch)
            num_bad, first = num_bad + len(bad), first or next(iter(bad), None)
        if first:
            self.notices.append(f"{num_bad} lines of {self.folder / name} are no records and were left out, the first "
                                f"at byte {first.offset}: {first.reason}. Copies are in quarantine/")  # fmt: skip

    def _index_batch(self, name: str, batch: Sequence[Line]) -> list[BadLine]:
        """Index the whole lines of a batch; returns those that are no records, which are in quarantine by then."""
        whole = [line for line in batch if not line.torn]
        if len(whole) < len(batch):
            self.notices.append(f"the last line of {self.folder / name}, at byte {batch[-1].offset}, was not finished "
                                "by its writer; it is left out")  # fmt: skip
        results = [(line, _read(line)) for line in whole]
        bad = [BadLine(line.offset, line.data, result) for line, result in results if isinstance(result, str)]
        if bad:
            quarantine(self.folder, name, bad)
        if whole:
            entries = [(result.key, Location(name, line.offset, len(line.data)))
                       for line, result in results if isinstance(result, Record)]  # fmt: skip
            self._index.extend(name, entries, whole[-1].end)
        return bad

    def _notice_quarantine(self) -> None:
        held = sorted(path.name for path in self.folder.glob("quarantine/*.jsonl"))
        if held:
            self.notices.append(f"{self.folder / 'quarantine'} holds lines of {len(held)} files that are no records; "
                                "look at them, and remove the copies when that is settled")  # fmt: skip


def _read(line: Line) -> Record | str:
    """The record of a line, or what is wrong with it."""
    try:
        return Record.from_line(line.data)
    except RecordError as error:
        return str(error)


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """The lines in lists that bound both the index's transactions and the memory."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line.data)
        if len(batch) == _BATCH_LINES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
