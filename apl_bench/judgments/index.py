"""The disposable index: where in the ledger's files a key's record stands, and how far each file has been read.

diskcache unpickles what a row tells it to (CVE-2025-69872) and opens the file that a row names. So this module is the
only one to open a cache, with a Disk that takes text keys and inline bytes and raises at anything else, over a database
whose settings were looked at first. Its caller believes a Location only after reading the record there.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import diskcache
from diskcache.core import DBNAME, DEFAULT_SETTINGS, METADATA, MODE_RAW

from apl_bench.judgments.files import FILE_NAME, LedgerError, Location
from apl_bench.judgments.record import MAX_LINE_BYTES, Record

SENTINEL_KEY = "@index"
SENTINEL = b"apl-bench-index/2 location"
# No memory map: a database that is cut short while it is mapped would kill its readers.
SETTINGS = {"eviction_policy": "none", "size_limit": 2**62, "cull_limit": 0, "statistics": 0, "sqlite_mmap_size": 0}

_ENTRY = re.compile(r"([0-9a-f]{64})(?:\.([0-9]{7}))?")
_LOCATION = re.compile(rb"([0-9]{1,18}) ([0-9]{1,9}) ([\x20-\x7e]+)")
_PROGRESS = re.compile(rb"([0-9]{1,18}) ([0-9]{1,18}) ([0-9]{1,7})")
_FILE = "@file:"
_ROWS_AT_ONCE = 500  # in one SELECT
# The disk or the permissions are at fault here, not the database: throwing it away would help nobody.
_NOT_CORRUPT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
                sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM}  # fmt: skip


class IndexCorruptError(ValueError):
    """The index holds what this program did not write, or not what the ledger's files say: rebuild it."""


def encode_location(place: Location) -> bytes:
    return b"%d %d %b" % (place.offset, place.length, place.file.encode("ascii"))


def decode_location(value: bytes) -> Location:
    """Raises IndexCorruptError for anything that `encode_location` cannot have written."""
    match = _LOCATION.fullmatch(value)
    if not match or not FILE_NAME.fullmatch(match[3].decode()) or int(match[2]) > MAX_LINE_BYTES:
        raise IndexCorruptError(f"it holds a location {value[:80]!r}")
    return Location(match[3].decode(), int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a file has been read, in bytes; how many entries of the index are from there; its newest generation."""

    end: int = 0
    num_entries: int = 0
    newest: int = 0

    def encode(self) -> bytes:
        return b"%d %d %d" % (self.end, self.num_entries, self.newest)

    @classmethod
    def decode(cls, file: str, value: bytes) -> Progress:
        """Raises IndexCorruptError for anything that `encode` cannot have written."""
        match = _PROGRESS.fullmatch(value)
        if not match:
            raise IndexCorruptError(f"it says that {file} was read up to {value[:80]!r}")
        return cls(int(match[1]), int(match[2]), int(match[3]))


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says of one record, or of nothing yet: key and generation, in the order in which they sort."""

    key: str
    generation: int

    @property
    def name(self) -> str:
        """Its key in the index; generations of a key stand behind one another."""
        return f"{self.key}.{self.generation:07d}" if self.generation else self.key

    @classmethod
    def of(cls, record: Record) -> Entry:
        return cls(record.key, record.generation)


class InlineDisk(diskcache.Disk):  # type: ignore[misc]
    """Text keys and inline bytes, nothing else: no pickle is ever read, no file ever opened or removed."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"a key of the index is {type(key).__name__}; expected str")
        return key, True

    def get(self, key: object, raw: object) -> str:
        if type(key) is not str or not raw:
            raise IndexCorruptError("it holds a key that is not text")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, bytes]:  # noqa: ARG002
        if type(value) is not bytes or read:
            raise TypeError(f"a value of the index is {type(value).__name__}; expected bytes")
        return 0, MODE_RAW, None, value

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        if mode != MODE_RAW or filename is not None or type(value) is not bytes or read:
            raise IndexCorruptError("it holds a value that is not inline bytes")
        return value

    def filename(self, key: object = None, value: object = None) -> NoReturn:  # noqa: ARG002
        raise IndexCorruptError("it asks for a file of its own")

    def remove(self, file_path: object) -> NoReturn:  # noqa: ARG002
        raise IndexCorruptError("it asks for a file to be removed")


_INSERT = ("INSERT OR IGNORE INTO Cache (key, raw, store_time, access_time, size, mode, value) "
           f"VALUES (?, 1, 0, 0, 0, {MODE_RAW}, ?)")  # fmt: skip


class Index:
    """Entry -> Location, in a folder of its own that only its owner can enter."""

    def __init__(self, folder: Path) -> None:
        """Open or create. Raises IndexCorruptError, or LedgerError where the folder cannot be used."""
        folder = folder.absolute()
        if os.path.expandvars(folder) != str(folder):
            raise LedgerError(f"the ledger's folder {folder} has a name of a variable in it, which its index would "
                              "expand; choose a folder without '$'")  # fmt: skip
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder = folder
        with self._translated():
            _check_settings(folder / DBNAME)
            self._cache: Any = diskcache.Cache(str(folder), disk=InlineDisk, **SETTINGS)
            self._check_sentinel()

    def find(self, entries: Iterable[Entry]) -> dict[Entry, Location]:
        """Where the records of these entries are said to stand; those that are not here are left out."""
        by_name = {entry.name: entry for entry in entries}
        return {by_name[name]: decode_location(value) for name, value in self._values(list(by_name))}

    def progress(self, files: Iterable[str]) -> dict[str, Progress]:
        """How far each of these files has been read."""
        found = dict(self._values([_FILE + file for file in files]))
        return {file: Progress.decode(file, found[_FILE + file]) if _FILE + file in found else Progress()
                for file in files}  # fmt: skip

    def entries(self, start: str = "", stop: str = "g") -> Iterator[tuple[Entry, Location]]:
        """All entries whose names are from `start` to before `stop`, in order, read little by little."""
        last = start
        while rows := self._select("key >= ? AND key < ? ORDER BY key, raw", (last, stop)):
            for name, value in rows:
                if name.startswith("@"):
                    continue
                match = _ENTRY.fullmatch(name)
                if not match:
                    raise IndexCorruptError(f"it holds an entry {name[:80]!r}")
                yield Entry(match[1], int(match[2] or 0)), decode_location(value)
            last = rows[-1][0] + "\0"

    def extend(self, file: str, entries: Sequence[tuple[Entry, Location]], end: int) -> None:
        """Add entries, the first one of a key and generation winning, and that the file was read up to `end`: both or
        neither."""
        before = self.progress([file])[file]
        # In the order of their names: neighbours share the pages of the database that have to be written.
        rows = sorted(((entry.name, encode_location(location)) for entry, location in entries), key=lambda row: row[0])
        with self._transaction() as connection:
            num_before = self._num_rows(connection)
            connection.executemany(_INSERT, rows)
            after = Progress(end, before.num_entries + self._num_rows(connection) - num_before,
                             max([before.newest, *(entry.generation for entry, _ in entries)]))  # fmt: skip
            connection.execute("DELETE FROM Cache WHERE key = ?", (_FILE + file,))
            connection.execute(_INSERT, (_FILE + file, after.encode()))

    def check(self, files: Sequence[str]) -> None:
        """Raise IndexCorruptError unless it holds exactly the entries that it says these files gave it."""
        expected = 1 + sum(1 + item.num_entries for item in self.progress(files).values() if item != Progress())
        with self._translated():
            found = len(self._cache)
        if found != expected:
            raise IndexCorruptError(f"it holds {found} rows, and its account of the files comes to {expected}")

    def close(self) -> None:
        self._cache.close()

    def _check_sentinel(self) -> None:
        if len(self._cache) == 0:
            self._cache.set(SENTINEL_KEY, SENTINEL, retry=True)
        found = self._cache.get(SENTINEL_KEY)
        if found != SENTINEL:
            raise IndexCorruptError(f"it says it is {found!r}; expected {SENTINEL!r}")

    def _values(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The rows of these names that there are."""
        for start in range(0, len(names), _ROWS_AT_ONCE):
            some = names[start : start + _ROWS_AT_ONCE]
            yield from self._select(f"key IN ({','.join('?' * len(some))})", some)

    def _select(self, condition: str, values: Sequence[str]) -> list[tuple[str, bytes]]:
        """Names and values of the first rows that fulfil a condition, each looked at as InlineDisk does."""
        statement = f"SELECT key, raw, mode, filename, value FROM Cache WHERE {condition} LIMIT {_ROWS_AT_ONCE}"
        with self._translated():
            rows = self._cache._con.execute(statement, values).fetchall()
        disk = self._cache.disk
        return [(disk.get(key, raw), disk.fetch(mode, file, value, False)) for key, raw, mode, file, value in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, on diskcache's own connection; its `transact` would wait for ever where the disk is full."""
        with self._translated():
            connection: sqlite3.Connection = self._cache._con
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @staticmethod
    def _num_rows(connection: sqlite3.Connection) -> int:
        """As the database itself counts them, which `check` goes by."""
        row = connection.execute("SELECT value FROM Settings WHERE key = 'count'").fetchone()
        if row is None or type(row[0]) is not int:
            raise IndexCorruptError("it does not count its rows")
        return int(row[0])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _NOT_CORRUPT:
                raise LedgerError(f"cannot use the index {self._folder}: {error}. Free some space or make it writable; "
                                  "the ledger itself is untouched") from error  # fmt: skip
            raise IndexCorruptError(f"its database cannot be read: {error}") from error


def _check_settings(database: Path) -> None:
    """Refuse settings that are not ours: diskcache runs those it finds as PRAGMA and sets them as its attributes."""
    if not database.exists():
        return
    with closing(sqlite3.connect(database)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        stored = dict(connection.execute("SELECT key, value FROM Settings")) if "Settings" in tables else {}
    expected = {**DEFAULT_SETTINGS, **SETTINGS}
    foreign = {key for key, value in stored.items() if key not in METADATA and expected.get(key) != value}
    if foreign:
        raise IndexCorruptError(f"it holds settings of another program: {sorted(map(repr, foreign))}")
