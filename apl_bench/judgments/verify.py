"""Everything in a ledger looked at: every line's seal and key, and the index against the files. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from apl_bench.judgments.files import (
    LedgerError,
    Line,
    Location,
    beside_writers,
    explained,
    ledger_files,
    read_lines,
    read_places,
)
from apl_bench.judgments.index import Entry, Index, IndexCorruptError, Progress
from apl_bench.judgments.places import IndexPlace, index_place, private_place, read_mounts
from apl_bench.judgments.record import Record, RecordError

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Bad:
    """Something that is not as it must be: where, and why."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, what was bad, and what is no damage but should be known (a line that was not finished)."""

    num_files: int
    num_records: int
    num_bytes: int
    bad: tuple[Bad, ...]
    notices: tuple[str, ...]


def verify(folder: Path, mounts: Callable[[], str] = read_mounts) -> Verification:
    """Read all of a ledger and check it. Raises LedgerError where it cannot be read."""
    with explained("read", folder):
        with beside_writers(folder):
            files = ledger_files(folder)
            copy = _copy_of_index(folder, mounts())
        try:
            reading = _Verifying(folder, copy, files.names)
            num_records = reading.run()
        finally:
            copy.remove_private()
    odd = [Bad(name, "it is a link, a folder, or has an odd name; it is not read") for name in files.odd]
    return Verification(len(files.names), num_records, reading.num_bytes, (*odd, *reading.bad), tuple(reading.notices))


def _copy_of_index(folder: Path, mounts: str) -> IndexPlace:
    """Of the index as it stands: opening one would change it."""
    place = index_place(folder, mounts, read_only=False)
    return place if place.private else private_place(place.folder)


class _Verifying:
    """One pass over the files, with the index beside it as long as it is whole."""

    def __init__(self, folder: Path, copy: IndexPlace, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = names
        self._index: Index | None = None
        self._progress: dict[str, Progress] = {}
        self._num_confirmed = 0  # entries of the index that lead to the very line that they should
        self.bad: list[Bad] = []
        self.notices: list[str] = []
        self.num_bytes = 0
        if not (copy.folder / "cache.db").exists():
            self.notices.append("there is no index; it will be made when the ledger is next opened")
            return
        with self._judged():
            self._index = Index(copy.folder)
            self._index.check(names)
            self._progress = self._index.progress(names)

    def run(self) -> int:
        """Look at everything; returns the number of records."""
        num_records = 0
        for name in self._names:
            records = self._records(name)
            while batch := list(islice(records, _BATCH)):
                num_records += len(batch)
                with self._judged():
                    self._compare(batch)
            if self._index and self._progress[name].end > (size := (self._folder / name).stat().st_size):
                self._wrong_index(f"it has read {self._progress[name].end} bytes of {name}, which has {size}")
        with self._judged():
            self._find_strays()
        if self._index:
            self._index.close()
        return num_records

    def _records(self, name: str) -> Iterator[tuple[Entry, Line, str]]:
        for line in read_lines(self._folder / name, 0):
            self.num_bytes += line.end - line.offset
            if line.torn:
                self.notices.append(f"{name}, byte {line.offset}: the last line was not finished by its writer")
                return
            try:
                yield Entry.of(Record.from_line(line.data)), line, name
            except RecordError as error:
                self.bad.append(Bad(f"{name}, byte {line.offset}", str(error)))

    def _compare(self, batch: Iterable[tuple[Entry, Line, str]]) -> None:
        """Hold records against what the index says of them."""
        if self._index is None:
            return
        batch = list(batch)
        known = self._index.find([entry for entry, _, _ in batch])
        for entry, line, name in batch:
            here, said = Location(name, line.offset, len(line.data)), known.get(entry)
            if said == here:
                self._num_confirmed += 1
            elif said is None and line.end <= self._progress[name].end:
                self._wrong_index(f"it lacks {entry.name}, which stands in {name} at byte {line.offset}")
            elif said is not None and not self._stands(entry, said):
                self._wrong_index(f"it says that {entry.name} stands in {said.file} at byte {said.offset}; "
                                  f"it stands in {name} at byte {line.offset}")  # fmt: skip

    def _find_strays(self) -> None:
        """Entries that lead to no record, looked for only where the numbers say that there are any."""
        if self._index is None or sum(item.num_entries for item in self._progress.values()) == self._num_confirmed:
            return
        for entry, said in self._index.entries():
            if not self._stands(entry, said):
                self._wrong_index(f"it says that {entry.name} stands in {said.file} at byte {said.offset}, "
                                  "where it does not")  # fmt: skip

    def _stands(self, entry: Entry, said: Location) -> bool:
        """True where the record of this entry stands there (one of several with the same key: the first counts)."""
        try:
            return all(Entry.of(Record.from_line(data)) == entry for _, data in read_places(self._folder, [said]))
        except (OSError, RecordError):
            return False

    def _wrong_index(self, reason: str) -> None:
        self.bad.append(Bad("index", reason))

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """What shows that the index as a whole is not to be believed is one bad place, and the end of its checks."""
        try:
            yield
        except (IndexCorruptError, LedgerError) as error:
            self._wrong_index(str(error))
            self._index = None
