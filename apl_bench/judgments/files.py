"""The ledger's files: lines read with their places, a writer whose append is durable, a lock, and the quarantine."""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from apl_bench.judgments.record import MAX_LINE_BYTES
from apl_bench.types import SpecError

FILE_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}\.jsonl")
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class LedgerError(SpecError):
    """The ledger's folder cannot be used as asked: what was tried, why it failed, what to do."""


@contextmanager
def explained(action: str, folder: Path) -> Iterator[None]:
    """Turn an OSError into a LedgerError that says what to do about it."""
    try:
        yield
    except OSError as error:
        if error.errno in _OUT_OF_SPACE:
            remedy = "Free some space and run the same command again: every judgment bought before this one is kept"
        elif error.errno in _NO_LOCKS:
            remedy = ("Its file system has no locks, without which writers could pay twice for one judgment; choose "
                      "another folder with --ledger")  # fmt: skip
        else:
            remedy = "Make the folder writable, or choose another one with APL_BENCH_CACHE_DIR"
        raise LedgerError(f"cannot {action} the ledger {folder}: {error.strerror or error}. {remedy}") from error


@dataclass(frozen=True, slots=True)
class Line:
    """A line where it stands: its first byte, the first byte after it, its content without the newline.

    `torn` means that the file ends before the line does. Of a line that is too long only the start is kept.
    """

    offset: int
    end: int
    data: bytes
    torn: bool


def read_lines(path: Path, start: int) -> Iterator[Line]:
    """The lines of a file from the byte `start`, which begins one; memory stays flat whatever the file holds."""
    with path.open("rb") as file:
        file.seek(start)
        offset = start
        while chunk := file.readline(MAX_LINE_BYTES + 1):
            data, end = chunk, offset + len(chunk)
            while not chunk.endswith(b"\n") and (chunk := file.readline(MAX_LINE_BYTES + 1)):
                end += len(chunk)
            yield Line(offset, end, data.removesuffix(b"\n"), torn=not chunk)
            offset = end


@dataclass(frozen=True, slots=True)
class Location:
    """Where a record's line stands: file in the ledger's folder, first byte, number of bytes without the newline."""

    file: str
    offset: int
    length: int


def read_places(folder: Path, places: Iterable[Location]) -> Iterator[tuple[Location, bytes]]:
    """What stands at each place, fewer bytes where a file ends before; by file, never of a link. Raises OSError."""
    for name, in_file in groupby(sorted(places, key=_order), key=_file_of):
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for place in in_file:
                yield place, os.pread(handle, place.length, place.offset)
        finally:
            os.close(handle)


def _file_of(place: Location) -> str:
    return place.file


def _order(place: Location) -> tuple[str, int]:
    return place.file, place.offset


@dataclass(frozen=True, slots=True)
class LedgerFiles:
    """Names of a ledger's files, oldest first (they begin with the time at which they were opened), and of what ends in
    .jsonl as well and is none: links, folders, odd names."""

    names: tuple[str, ...]
    odd: tuple[str, ...]


def ledger_files(folder: Path) -> LedgerFiles:
    """What stands in a ledger's folder."""
    with os.scandir(folder) as entries:
        readable = {entry.name: bool(FILE_NAME.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False)
                    for entry in entries if entry.name.endswith(".jsonl")}  # fmt: skip
    return LedgerFiles(tuple(sorted(name for name, ok in readable.items() if ok)),
                       tuple(sorted(name for name, ok in readable.items() if not ok)))  # fmt: skip


def new_name(writer: str) -> str:
    """A name that no other file of a ledger has: `<utc>-<writer>-<pid>-<random>.jsonl`."""
    utc = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return f"{utc}-{writer}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"


class Writer:
    """One process's own file, `<utc>-<host>-<pid>-<random>.jsonl`: nobody else appends to it."""

    def __init__(self, folder: Path) -> None:
        host = re.sub(r"[^A-Za-z0-9]+", "_", socket.gethostname())[:40] or "host"
        self.path = folder / new_name(host)
        self.pid = os.getpid()
        self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        sync_folder(folder)

    def append(self, data: bytes) -> None:
        """Write all of `data` and wait until it is on the disk. Raises OSError."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._handle, rest) :]
        os.fsync(self._handle)

    def close(self) -> None:
        os.close(self._handle)


def sync_folder(folder: Path) -> None:
    """Make a new file's name durable too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def exclusively(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when a process dies. It keeps threads apart as well: each opens
    the file for itself."""
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def beside_writers(folder: Path) -> Iterator[None]:
    """Hold off those who write, as far as the folder lets us, and make nothing in it."""
    try:
        file = (folder / ".lock").open("r")
    except OSError:
        yield  # then a line may be seen half written, which is known by its missing end
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no record: its first byte, its content, and what is wrong with it."""

    offset: int
    data: bytes
    reason: str

    def to_json(self) -> dict[str, object]:
        """The exact bytes: as text where they are text, else in base64."""
        place = {"offset": self.offset, "reason": self.reason}
        try:
            return {**place, "line": self.data.decode("utf-8")}
        except UnicodeDecodeError:
            return {**place, "base64": base64.b64encode(self.data).decode()}


def quarantine_path(folder: Path, name: str) -> Path:
    """Where copies of the bad lines of the file `name` are kept."""
    return folder / "quarantine" / name


def quarantine(folder: Path, name: str, bad: Sequence[BadLine]) -> None:
    """Copy bad lines of the file `name`, with their places and reasons; the file itself stays as it is."""
    path = quarantine_path(folder, name)
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="ascii") as file:
        file.writelines(json.dumps(line.to_json()) + "\n" for line in bad)
