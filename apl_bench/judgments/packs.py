"""Packs: records in one sealed file, named by the hash of what it holds, that others can check and take over.

    <name>-<first 16 hexadecimal digits of the sha256 of its lines>.jsonl.zst

The lines are those of the ledger, in the order of key and generation, so that the same records give the same pack.
Whoever sends one is a stranger: it is read as a stream within limits, every line is checked as the ledger's own are,
and nothing is added before the last one was.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

from apl_bench.judgments.files import LedgerError, Location, new_name, read_places, sync_folder
from apl_bench.judgments.index import Entry, IndexCorruptError
from apl_bench.judgments.record import MAX_LINE_BYTES, Record, RecordError
from apl_bench.judgments.streams import Bounds, StreamError, lines

SUFFIX = ".jsonl.zst"
_PACK_NAME = re.compile(r".+-([0-9a-f]{16})\.jsonl\.zst")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,150}")
_BATCH = 500
_NOT_PACKS = {
    ".db": "a database can hold code for whoever opens it",
    ".sqlite": "a database can hold code for whoever opens it",
    ".pickle": "a pickle runs code when it is read",
    ".pkl": "a pickle runs code when it is read",
    ".zip": "an archive can hold anything, in any place",
    ".tar": "an archive can hold anything, in any place",
    ".gz": "a pack is compressed with zstd",
    ".tgz": "an archive can hold anything, in any place",
}
_SECRETS = {
    "an API key (sk-...)": re.compile(rb"(?<![A-Za-z0-9])sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}"),
    "an authorization header (Bearer ...)": re.compile(rb"(?i)bearer +(?=[A-Z._~+/-]*[0-9])[A-Z0-9._~+/-]{16,}"),
    "an access token (hf_..., ghp_..., gsk_..., AIza..., AKIA...)": re.compile(
        rb"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{30}|gh[pousr]_[A-Za-z0-9]{36}|gsk_[A-Za-z0-9]{40}"
        rb"|AIza[A-Za-z0-9_-]{35}|AKIA[A-Z0-9]{16})"
    ),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a pack may hold: bytes before and after decompression, their ratio, and records."""

    num_packed_bytes: int
    num_bytes: int
    ratio: int
    num_records: int


LIMITS = Limits(num_packed_bytes=4 * 2**30, num_bytes=32 * 2**30, ratio=200, num_records=10**7)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a pack: how many records it has, how many were new, and how many of those that were known here
    already have another reply there."""

    num_records: int
    num_new: int
    num_other: int


class Known(Protocol):
    """What a ledger has: as Catalog."""

    def look_up_surely(self, entries: Sequence[Entry]) -> dict[Entry, Record]: ...

    def known(self, entries: Sequence[Entry]) -> dict[Entry, Location]: ...

    def locations(self, keys: Sequence[str] | None) -> Iterator[tuple[Entry, Location]]: ...


def write_pack(path: Path, folder: Path, known: Known, keys: Sequence[str] | None) -> Path:
    """Write the records of a ledger's folder, or those of some keys, as a pack; returns where it is.

    Raises LedgerError as Ledger.export does, IndexCorruptError where there is no record where the index says.
    """
    name = path.name.removesuffix(SUFFIX)
    if not _NAME.fullmatch(name):
        raise LedgerError(f"a pack cannot be called {path.name!r}; expected 1 to 150 letters, digits, '.', '_' or '-'")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path.parent / f".{name}-{secrets.token_hex(4)}.tmp") as temporary:
        digest, missing, num_records = hashlib.sha256(), set(keys or ()), 0
        with _compressed(temporary) as stream:
            for entry, line in _checked_lines(folder, known.locations(keys)):
                missing.discard(entry.key)
                num_records += 1
                digest.update(line)
                stream.write(line)
        if missing:
            raise LedgerError(f"{len(missing)} of the keys are not in the ledger {folder}, such as {min(missing)!r}")
        if not num_records:
            raise LedgerError(f"the ledger {folder} has no records to export")
        target = path.with_name(f"{name}-{digest.hexdigest()[:16]}{SUFFIX}")
        _publish(temporary, target)
    return target


def _checked_lines(folder: Path, places: Iterable[tuple[Entry, Location]]) -> Iterator[tuple[Entry, bytes]]:
    """The lines at these places, in their order, with their newlines. Raises LedgerError where one holds a secret."""
    places = iter(places)
    while batch := list(islice(places, _BATCH)):
        try:
            data = dict(read_places(folder, [place for _, place in batch]))
            records = {place: Record.from_line(line) for place, line in data.items()}
        except (OSError, RecordError) as error:
            raise IndexCorruptError(f"there is no record where it says: {error}") from None
        for entry, place in batch:
            if Entry.of(records[place]) != entry:
                raise IndexCorruptError(f"it gives the record of another key for {entry.key}")
            _refuse_secrets(data[place], f"{folder / place.file}, byte {place.offset} (key {entry.key})")
            yield entry, data[place] + b"\n"


def _refuse_secrets(line: bytes, place: str) -> None:
    for kind, pattern in _SECRETS.items():
        if pattern.search(line):
            raise LedgerError(f"nothing was exported: what looks like {kind} stands in {place}. A pack is for others: "
                              "look at that record, and revoke the key if it is one")  # fmt: skip


def read_pack(path: Path, folder: Path, known: Known, limits: Limits) -> Imported:
    """Add the records of a pack, or of a plain .jsonl, that are new in a ledger's folder, whose lock is held.

    They appear as one more file of the ledger, after all was checked. Raises LedgerError as Ledger.import_pack does.
    """
    for stale in folder.glob(".import-*.tmp"):
        stale.unlink()  # of an import that was killed: we hold the lock, so nobody is writing it
    num_records = num_new = num_other = 0
    with _opened(path) as source, _temporary(folder / f".import-{secrets.token_hex(8)}.tmp") as temporary:
        records = _records(source, path, limits)
        with temporary.open("xb") as file:
            while batch := list(islice(records, _BATCH)):
                here = known.look_up_surely([entry for entry, _ in batch])
                new = [line for entry, line in batch if entry not in here]
                file.write(b"".join(new))
                num_records, num_new = num_records + len(batch), num_new + len(new)
                num_other += sum(_is_other(here.get(entry), line) for entry, line in batch)
            file.flush()
            os.fsync(file.fileno())
        if num_new:
            _publish(temporary, folder / new_name("import"))
            known.look_up_surely([])
    return Imported(num_records, num_new, num_other)


def _is_other(here: Record | None, line: bytes) -> bool:
    return here is not None and here.to_line() != line


def _records(source: IO[bytes], path: Path, limits: Limits) -> Iterator[tuple[Entry, bytes]]:
    """The checked lines of a pack with their newlines; ends only where the whole of it was what its name says."""
    is_pack = path.name.endswith(SUFFIX)
    digest, last, number = hashlib.sha256(), "", 0
    for number, line in enumerate(_lines(source, path, limits), start=1):
        try:
            entry = Entry.of(Record.from_line(line))
        except RecordError as error:
            raise _refused(path, f"line {number}: {error}") from None
        if number > limits.num_records:
            raise _refused(path, f"it has more than {limits.num_records} records")
        if is_pack and entry.name <= last:
            raise _refused(path, f"line {number} is not in the order of its key and generation")
        last = entry.name
        digest.update(line)
        yield entry, line
    if number == 0:
        raise _refused(path, "it has no records")
    name = _PACK_NAME.fullmatch(path.name)
    if is_pack and (name is None or name[1] != digest.hexdigest()[:16]):
        raise _refused(path, f"its content is that of '<name>-{digest.hexdigest()[:16]}{SUFFIX}'; it was changed or "
                       "cut, or the file was renamed")  # fmt: skip


def _lines(source: IO[bytes], path: Path, limits: Limits) -> Iterator[bytes]:
    bounds = Bounds(limits.num_packed_bytes, limits.num_bytes, limits.ratio, MAX_LINE_BYTES)
    try:
        yield from lines(source, path.name.endswith(SUFFIX), bounds)
    except StreamError as error:
        raise _refused(path, str(error)) from None


@contextmanager
def _compressed(path: Path) -> Iterator[IO[bytes]]:
    """What is written to it stands in a new file, compressed and on the disk, when it is left."""
    import pyarrow as pa  # not needed where there is no pack

    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with pa.CompressedOutputStream(pa.PythonFile(os.fdopen(os.dup(handle), "wb"), mode="w"), "zstd") as stream:
            yield stream
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A pack's file: a plain one with a name of ours, never what a link points to. Raises LedgerError, OSError."""
    reason = _NOT_PACKS.get(path.suffix.lower())
    if reason:
        raise _refused(path, f"{path.suffix} files are never read: {reason}")
    if not path.name.endswith((SUFFIX, ".jsonl")):
        raise _refused(path, f"expected a file that ends in {SUFFIX} or .jsonl")
    if path.is_symlink():
        raise _refused(path, "it is a link; name the file itself")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise LedgerError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _refused(path, "it is no plain file")
    with os.fdopen(handle, "rb") as file:
        yield file


def _refused(path: Path, why: str) -> LedgerError:
    return LedgerError(f"nothing of {path} was imported: {why}")


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name for a file that does not outlive a failure."""
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _publish(temporary: Path, target: Path) -> None:
    """Give a finished file its name, durably."""
    os.replace(temporary, target)
    sync_folder(target.parent)
