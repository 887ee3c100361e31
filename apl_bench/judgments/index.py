"""The disposable index: where in the ledger's files a key's record stands, and how far each file has been read.

diskcache unpickles what a row tells it to (CVE-2025-69872) and opens the file that a row names. So this module is the
only one to open a cache, with a Disk that takes text keys and inline bytes and raises at anything else, over a database
whose settings were looked at first. Its caller believes a Location only after reading the record there.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import diskcache
from diskcache.core import DBNAME, DEFAULT_SETTINGS, METADATA, MODE_RAW

from apl_bench.judgments.files import FILE_NAME, LedgerError
from apl_bench.judgments.record import MAX_LINE_BYTES

SENTINEL_KEY = "@index"
SENTINEL = b"apl-bench-index/1 location"
SETTINGS = {"eviction_policy": "none", "size_limit": 2**62, "cull_limit": 0, "statistics": 0}

_LOCATION = re.compile(rb"([0-9]{1,18}) ([0-9]{1,9}) ([\x20-\x7e]+)")
_PROGRESS = re.compile(rb"([0-9]{1,18}) ([0-9]{1,18})")
# The disk or the permissions are at fault here, not the database: throwing it away would help nobody.
_NOT_CORRUPT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
                sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM}  # fmt: skip


class IndexCorruptError(ValueError):
    """The index holds what this program did not write, or not what the ledger's files say: rebuild it."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a record's line stands: file in the ledger's folder, first byte, number of bytes without the newline."""

    file: str
    offset: int
    length: int

    def encode(self) -> bytes:
        return b"%d %d %b" % (self.offset, self.length, self.file.encode("ascii"))

    @classmethod
    def decode(cls, value: bytes) -> Location:
        """Raises IndexCorruptError for anything that `encode` cannot have written."""
        match = _LOCATION.fullmatch(value)
        if not match or not FILE_NAME.fullmatch(match[3].decode()) or int(match[2]) > MAX_LINE_BYTES:
            raise IndexCorruptError(f"it holds a location {value[:80]!r}")
        return cls(match[3].decode(), int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a file has been read, in bytes, and how many entries of the index are from there."""

    end: int = 0
    num_entries: int = 0


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


class Index:
    """Key -> Location, in a folder of its own that only its owner can enter."""

    def __init__(self, folder: Path) -> None:
        """Open or create. Raises IndexCorruptError, or LedgerError where the folder cannot be used."""
        folder = folder.absolute()
        if os.path.expandvars(folder) != str(folder):
            raise LedgerError(f"the ledger's folder {folder} has a name of a variable in it, which its index would "
                              "expand; choose a folder without '$'")  # fmt: skip
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        self._folder = folder
        with self._translated():
            _check_settings(folder / DBNAME)
            self._cache: Any = diskcache.Cache(str(folder), disk=InlineDisk, **SETTINGS)
            self._check_sentinel()

    def find(self, key: str) -> Location | None:
        """Where the record of this key is said to stand. Raises IndexCorruptError."""
        with self._translated():
            value = self._cache.get(key, retry=True)
        return None if value is None else Location.decode(value)

    def progress(self, file: str) -> Progress:
        """How far this file has been read. Raises IndexCorruptError."""
        with self._translated():
            value = self._cache.get(f"@file:{file}", retry=True)
        if value is None:
            return Progress()
        match = _PROGRESS.fullmatch(value)
        if not match:
            raise IndexCorruptError(f"it says that {file} was read up to {value[:80]!r}")
        return Progress(int(match[1]), int(match[2]))

    def extend(self, file: str, entries: Sequence[tuple[str, Location]], end: int) -> None:
        """Add entries, the first one of a key winning, and that the file was read up to `end`: both or neither."""
        before = self.progress(file)
        with self._translated(), self._cache.transact(retry=True):
            added = sum(self._cache.add(key, location.encode()) for key, location in entries)
            self._cache.set(f"@file:{file}", b"%d %d" % (end, before.num_entries + added))

    def check(self, files: Sequence[str]) -> None:
        """Raise IndexCorruptError unless it holds exactly the entries that it says these files gave it."""
        progress = [self.progress(file) for file in files]
        expected = 1 + sum(1 + item.num_entries for item in progress if item != Progress())
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
