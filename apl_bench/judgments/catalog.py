"""What a ledger's folder holds, found through the index: kept up with the files, and rebuilt where it was wrong."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from apl_bench.judgments.files import (
    BadLine,
    LedgerError,
    Line,
    Location,
    ledger_files,
    quarantine,
    quarantine_path,
    read_lines,
    read_places,
)
from apl_bench.judgments.index import Entry, Index, IndexCorruptError
from apl_bench.judgments.places import IndexPlace
from apl_bench.judgments.record import Record, RecordError

_MOVED_ASIDE = re.compile(r"index\.[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
_BATCH_ENTRIES, _BATCH_BAD = 20_000, 100


class Catalog:
    """The records of a folder, by key and generation. Its user holds the ledger's lock, but for `look_up`."""

    def __init__(self, folder: Path, place: IndexPlace, can_write: bool) -> None:
        """`can_write` is whether copies of bad lines may be put in the folder."""
        self._folder = folder
        self._place = place
        self._can_write = can_write
        self._read_up_to: dict[str, int] = {}
        self._passed_over: set[str] = set()
        self.notices: list[str] = [place.notice] if place.notice else []
        self._notice_quarantine()
        try:
            self._index = Index(place.folder)
            self._index.check(self.files())
            self.catch_up()
        except IndexCorruptError as error:
            self._renew(error)

    def close(self) -> None:
        """Let go of the index."""
        self._index.close()
        self._place.remove_private()

    def files(self) -> list[str]:
        """Names of the ledger's files, oldest first (they begin with the time at which they were opened)."""
        found = ledger_files(self._folder)
        for name in found.odd:
            if name not in self._passed_over:
                self._passed_over.add(name)
                self.notices.append(f"{name!r} in {self._folder} was not read; expected a file, not a link, with a "
                                    "name of letters, digits, '.', '_' and '-'")  # fmt: skip
        return list(found.names)

    def look_up(self, entries: Sequence[Entry]) -> dict[Entry, Record]:
        """The records that the index knows, each read and checked. Raises IndexCorruptError where it was wrong."""
        expected = {location: entry for entry, location in self._index.find(entries).items()}
        return dict(self._read(expected))

    def look_up_surely(self, entries: Sequence[Entry]) -> dict[Entry, Record]:
        """The records of these entries after reading what is new in the files; a wrong index is rebuilt."""
        try:
            self.catch_up()
            return self.look_up(entries)
        except IndexCorruptError as error:
            wrong = error
        try:
            self.rebuild(wrong)
            return self.look_up(entries)
        except IndexCorruptError as error:
            raise LedgerError(f"the files of the ledger {self._folder} change while they are read ({error}). They may "
                              "only grow: stop what edits them, and run again") from None  # fmt: skip

    def known(self, entries: Sequence[Entry]) -> dict[Entry, Location]:
        """Where the records of these entries stand, as far as the index knows."""
        return self._index.find(entries)

    def newest_generation(self) -> int:
        """The highest generation of any record."""
        return max((item.newest for item in self._index.progress(self.files()).values()), default=0)

    def locations(self, keys: Sequence[str] | None) -> Iterator[tuple[Entry, Location]]:
        """All entries in the order of key and generation, or those of some keys. Raises IndexCorruptError."""
        if keys is None:
            yield from self._index.entries()
            return
        for key in sorted(set(keys)):
            yield from self._index.entries(key, key + "/")  # the character that follows '.'

    def catch_up(self) -> None:
        """Index what the files hold and the index has not seen."""
        for name in self.files():
            size = (self._folder / name).stat().st_size
            if self._read_up_to.get(name) != size:
                self._read_new(name, size)
                self._read_up_to[name] = size

    def appended(self, name: str, lines: Mapping[Entry, bytes]) -> None:
        """Index lines that were just written to the end of a file, without reading them again."""
        size = (self._folder / name).stat().st_size
        offset = size - sum(map(len, lines.values()))
        try:
            if self._index.progress([name])[name].end != offset:
                self.catch_up()
                return
            entries = []
            for entry, line in lines.items():
                entries.append((entry, Location(name, offset, len(line) - 1)))
                offset += len(line)
            self._index.extend(name, entries, size)
            self._read_up_to[name] = size
        except IndexCorruptError as error:
            self.rebuild(error)

    def rebuild(self, why: Exception | str) -> None:
        """Move the index aside and make a new one from the files."""
        self._index.close()
        self._renew(why)

    def start_anew(self) -> None:
        """Remove the index and what was moved aside of it before, and make a new one from the files."""
        self._index.close()
        folder = self._place.folder
        for old in folder.parent.glob("index*"):
            if old == folder or _MOVED_ASIDE.fullmatch(old.name):
                shutil.rmtree(old)
        self._read_up_to.clear()
        self._index = Index(folder)
        self.catch_up()

    def _renew(self, why: Exception | str) -> None:
        folder = self._place.folder
        aside = folder.with_name(f"index.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}")
        folder.rename(aside)
        self.notices.append(f"the index of the ledger {self._folder} was not to be believed ({why}); it was moved to "
                            f"{aside.name} and rebuilt from the ledger's files")  # fmt: skip
        self._read_up_to.clear()
        self._index = Index(folder)
        self.catch_up()

    def _read(self, expected: dict[Location, Entry]) -> Iterator[tuple[Entry, Record]]:
        """The records at places that the index names. Raises IndexCorruptError unless they are there, whole."""
        place: Location | None = None
        try:
            for place, data in read_places(self._folder, expected):
                record = Record.from_line(data)
                if Entry.of(record) != expected[place]:
                    raise IndexCorruptError(f"it gives the record of another key for {expected[place].key}")
                yield expected[place], record
        except (OSError, RecordError) as error:
            raise IndexCorruptError(f"there is no record where it says, {place}: {error}") from None

    def _read_new(self, name: str, size: int) -> None:
        start = self._index.progress([name])[name].end
        if start > size:
            raise IndexCorruptError(f"it has read {start} bytes of {name}, which has {size}")
        if start == 0 and self._can_write:
            quarantine_path(self._folder, name).unlink(missing_ok=True)
        reading = _Reading(self._folder / name, read_lines(self._folder / name, start))
        while not reading.finished:
            end = reading.next_batch()
            if reading.bad and self._can_write:
                quarantine(self._folder, name, reading.bad)
            if end is not None:
                self._index.extend(name, reading.entries, end)
        self.notices += reading.notices(self._can_write)

    def _notice_quarantine(self) -> None:
        held = sorted(path.name for path in self._folder.glob("quarantine/*.jsonl"))
        if held:
            self.notices.append(f"{self._folder / 'quarantine'} holds lines of {len(held)} files that are no records; "
                                "look at them, and remove the copies when that is settled")  # fmt: skip


class _Reading:
    """A file read in batches, which bound both the index's transactions and the memory."""

    def __init__(self, path: Path, lines: Iterator[Line]) -> None:
        self._path = path
        self._lines = lines
        self._torn: Line | None = None
        self._num_bad = 0
        self._first_bad: BadLine | None = None
        self.finished = False
        self.entries: list[tuple[Entry, Location]] = []
        self.bad: list[BadLine] = []

    def next_batch(self) -> int | None:
        """Read on; returns the end of the last whole line, None where there was none. Sets `entries` and `bad`."""
        self.entries, self.bad = [], []
        end = None
        for line in self._lines:
            if line.torn:
                self._torn = line
                break
            self._take(line)
            end = line.end
            if len(self.entries) == _BATCH_ENTRIES or len(self.bad) == _BATCH_BAD:
                return end
        self.finished = True
        return end

    def notices(self, can_write: bool) -> list[str]:
        """One sentence for a torn line, and one for all the bad ones."""
        said = []
        if self._torn:
            said.append(f"the last line of {self._path}, at byte {self._torn.offset}, was not finished by its writer; "
                        "it is left out")  # fmt: skip
        if self._first_bad:
            copies = "Copies are in quarantine/" if can_write else "No copies were made: the folder cannot be written"
            said.append(f"{self._num_bad} lines of {self._path} are no records and were left out, the first at byte "
                        f"{self._first_bad.offset}: {self._first_bad.reason}. {copies}")  # fmt: skip
        return said

    def _take(self, line: Line) -> None:
        try:
            entry = Entry.of(Record.from_line(line.data))
        except RecordError as error:
            bad = BadLine(line.offset, line.data, str(error))
            self.bad.append(bad)
            self._num_bad += 1
            self._first_bad = self._first_bad or bad
        else:
            self.entries.append((entry, Location(self._path.name, line.offset, len(line.data))))
