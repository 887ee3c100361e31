"""The ledger: every judgment that was ever bought, found by the key of its request.

A folder of JSONL files is the truth. Each process appends to a file of its own, under the folder's lock, so that one
key has one record in a generation whoever asks at the same time: the first writer wins. Everything else is derived and
can be deleted: `index/` (rebuilt from the files) and `quarantine/` (copies of lines that are no records).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from apl_bench.judgments import packs
from apl_bench.judgments.catalog import Catalog
from apl_bench.judgments.files import (
    READ_ONLY,
    LedgerError,
    Line,
    Location,
    Writer,
    beside_writers,
    exclusively,
    explained,
    read_lines,
)
from apl_bench.judgments.index import Entry, IndexCorruptError
from apl_bench.judgments.nearest import Nearest, nearest_of_lines
from apl_bench.judgments.places import index_place, read_mounts
from apl_bench.judgments.record import Record, RecordError
from apl_bench.types import JSON


class Ledger:
    """Records by key and generation. `notices` collects one sentence for each thing that a user should know; who prints
    is the caller. Threads may share one.

    Opening reads what other processes wrote since the index was last here; a miss looks again. A folder that cannot be
    written is read all the same.
    """

    def __init__(
        self,
        folder: Path,
        open_writer: Callable[[Path], Writer] = Writer,
        mounts: Callable[[], str] = read_mounts,
    ) -> None:
        """Open the ledger in `folder`, which is made if need be. Raises LedgerError where it cannot be used."""
        self.folder = folder
        self._open_writer = open_writer
        self._writer: Writer | None = None
        self._guard = threading.RLock()  # of what threads of this process share; the folder's lock is for others
        self._refusal = _refusal(folder)  # why nothing can be written here, if so
        with self._locked("open"):
            place = index_place(folder, mounts(), read_only=self._refusal is not None)
            self._catalog = Catalog(folder, place, can_write=self._refusal is None)

    @property
    def notices(self) -> list[str]:
        """One sentence for each thing that a user should know."""
        return self._catalog.notices

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files. Nothing is lost without it: `add` returns when its records are on the disk."""
        with self._guard:
            self._drop_writer()
            self._catalog.close()

    def get(self, key: str, generation: int = 0) -> Record | None:
        """The record of this key, None where nobody has written one."""
        return self.get_many([key], generation).get(key)

    def get_many(self, keys: Sequence[str], generation: int = 0) -> dict[str, Record]:
        """The records that are there in this generation, by key; each was read from its file and checked just now."""
        wanted = [Entry(key, generation) for key in dict.fromkeys(keys)]
        with self._guard:
            try:
                found = self._catalog.look_up(wanted)
            except (IndexCorruptError, LedgerError):  # the second: another process is just rebuilding the index
                found = {}  # looked up again under the lock, where it may be rebuilt
            missing = [entry for entry in wanted if entry not in found]
            if missing:
                with self._locked("read"):
                    found |= self._catalog.look_up_surely(missing)
        return {entry.key: found[entry] for entry in wanted if entry in found}

    def newest_generation(self) -> int:
        """The highest generation of any record, 0 where nothing was asked anew."""
        with self._locked("read"):
            self._catalog.look_up_surely([])
            return self._catalog.newest_generation()

    def add(self, records: Iterable[Record]) -> dict[Entry, Record]:
        """Write the records that are new in their generation; on return they are on the disk.

        Returns the record that stands for each: that of the first writer of its key and generation.
        Raises LedgerError where writing fails; what was added before stays.
        """
        given: dict[Entry, Record] = {}
        for record in records:
            given.setdefault(Entry.of(record), record)
        with self._writing():
            known = self._catalog.look_up_surely(list(given))
            lines = {entry: record.to_line() for entry, record in given.items() if entry not in known}
            if lines:
                self._catalog.appended(self._append(b"".join(lines.values())), lines)
        return {**given, **known}

    def records(self) -> Iterator[Record]:
        """Every record, file by file, read and checked; bad lines and a torn last one are passed over."""
        for _, line in self._lines():
            try:
                yield Record.from_line(line.data)
            except RecordError:
                continue

    def nearest(self, request: Mapping[str, JSON]) -> Nearest | None:
        """The record whose request differs from this one in the fewest fields, the first of equals; None if empty."""
        return nearest_of_lines(request, (line.data for _, line in self._lines()))

    def where(self, key: str) -> dict[Entry, Location]:
        """Where the records of this key stand, by generation; each was read there and checked just now."""
        with self._locked("read"):
            self._catalog.look_up_surely([])
            entries = [entry for entry, _ in self._catalog.locations([key])]
            found = self._catalog.look_up_surely(entries)
            return self._catalog.known(list(found))

    def rebuild(self) -> None:
        """Throw the index away, and those that were moved aside before, and make a new one from the files."""
        with self._locked("rebuild the index of"):
            self._catalog.start_anew()

    def export(self, path: Path, keys: Sequence[str] | None = None) -> Path:
        """Write a pack, `<path>-<16 hexadecimal digits of its content>.jsonl.zst`, of all records or of some keys in
        all their generations, and return where it is. The same records give the same pack.

        Raises LedgerError where a key is not in the ledger or a line looks as if it held an API key.
        """
        with self._locked("export"):
            self._catalog.look_up_surely([])
            try:
                return packs.write_pack(path, self.folder, self._catalog, keys)
            except IndexCorruptError as error:
                self._catalog.rebuild(error)
                return packs.write_pack(path, self.folder, self._catalog, keys)

    def import_pack(self, path: Path, limits: packs.Limits = packs.LIMITS) -> packs.Imported:
        """Add the records of a pack, or of a plain .jsonl, that are new here: all of them or none.

        Nothing in it is believed: raises LedgerError for what is no pack, for one beyond the limits, and for one whose
        name, seals, keys or order are not those of its content; the ledger is untouched then.
        """
        with self._writing():
            return packs.read_pack(path, self.folder, self._catalog, limits)

    def _lines(self) -> Iterator[tuple[str, Line]]:
        for name in self._catalog.files():
            for line in read_lines(self.folder / name, 0):
                yield name, line

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._locked("write to"):
            if self._refusal is not None:
                raise OSError(self._refusal.errno, self._refusal.strerror)
            yield

    @contextmanager
    def _locked(self, action: str) -> Iterator[None]:
        lock = exclusively if self._refusal is None else beside_writers
        with self._guard, explained(action, self.folder), lock(self.folder):
            yield

    def _append(self, data: bytes) -> str:
        """Write to this process's own file; its name."""
        if self._writer is None or self._writer.pid != os.getpid():
            self._writer = self._open_writer(self.folder)
        try:
            self._writer.append(data)
        except OSError:
            self._drop_writer()  # its last line may be torn: nothing must be written behind that
            raise
        return self._writer.path.name

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _refusal(folder: Path) -> OSError | None:
    """Why the folder, which is made if need be, cannot be written. Raises LedgerError where there is none to read."""
    with explained("open", folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with exclusively(folder):
                return None
        except OSError as error:
            if error.errno in READ_ONLY and folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
                return error
            raise
