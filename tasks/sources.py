"""Where a task's rows come from: a file, the hub, what ships or is installed; never a substitute for one another.

This is what tasks share. What a row is, and which sources there are, is in reviews.py for IMDB and posts.py for TLDR.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from apl_bench.checkpoints import NotHereError
from apl_bench.protocols import Split
from apl_bench.spec import COMMIT, nearest, require
from apl_bench.types import JSON, SpecError
from apl_bench.wording import encodable

R = TypeVar("R")

Settings: TypeAlias = Mapping[str, str | None]

_SPLITS: tuple[Split, Split] = ("train", "test")
_NUM_SHOWN = 5


class Source(Protocol[R]):
    """A place that rows come from."""

    def rows(self) -> list[R]:
        """All rows; raises SpecError where they are missing, changed or broken, with what to do about it."""

    def identity(self) -> Mapping[str, JSON]:
        """What pins the data: a checksum of the bytes that were read, or a revision."""


@dataclass(frozen=True)
class Kind(Generic[R]):
    """One of a task's sources: the settings that it takes, and how it is opened with them."""

    settings: tuple[str, ...]
    open: Callable[[Settings], Source[R]]


@dataclass(frozen=True)
class Lines(Generic[R]):
    """What a line of a task's JSONL holds: `fields` in words, and the row that they make.

    `parse` raises ValueError with what is wrong; `instead` is the source that a user without a file is pointed to.
    """

    fields: str
    parse: Callable[[Mapping[str, Any]], R]
    instead: str


@dataclass(frozen=True)
class HubDataset(Generic[R]):
    """A dataset on the hub: the commit that is known to be good, a parquet file a split, and the row that a record of
    these columns makes (ValueError: what is wrong with it).
    """

    repository: str
    revision: str
    files: Mapping[Split, str]
    columns: tuple[str, ...]
    parse: Callable[[Mapping[str, Any], Split], R]


def open_source(name: object, settings: Settings, kinds: Mapping[str, Kind[R]]) -> Source[R]:
    """The source of that name; raises SpecError for a setting that it lacks or does not take."""
    if not isinstance(name, str):
        raise SpecError(f"task.source is {name!r}; expected {' or '.join(kinds)}")
    if name not in kinds:
        raise nearest(name, "task.source", kinds)
    for key, value in settings.items():
        if value is not None:
            taken = kinds[name].settings
            allowed = ", ".join(taken) or "no setting"
            require(key in taken, f"task.{key}", value, f"nothing, as task.source = {name!r} takes {allowed}")
            require(isinstance(value, str), f"task.{key}", value, "a text")
    return kinds[name].open(settings)


@dataclass(frozen=True)
class FileSource(Generic[R]):
    """A JSONL file, gzipped or not."""

    path: Path
    sha256: str | None
    lines: Lines[R]

    def rows(self) -> list[R]:
        return parse_lines(str(self.path), self._read(), self.lines)

    def identity(self) -> Mapping[str, JSON]:
        return {"source": "file", "sha256": hashlib.sha256(self._read()).hexdigest()}

    def _read(self) -> bytes:
        if not self.path.is_file():
            raise SpecError(
                f"no file at {str(self.path)!r} (looked for {str(self.path.absolute())!r}); expected JSONL, gzipped or "
                f"not, with the fields {self.lines.fields}. Say where it is: --set task.path=PATH, or use "
                f"--set task.source={self.lines.instead}"
            )
        data = self.path.read_bytes()
        if self.sha256 is not None:
            check_sha256(data, self.sha256, repr(str(self.path)), "use the file that was meant, or state its sha256")
        return data


@dataclass(frozen=True)
class SampleSource(Generic[R]):
    """A JSONL file in tasks/data, which ships with apl-bench."""

    name: str
    lines: Lines[R]

    def rows(self) -> list[R]:
        return parse_lines(self.name, self._read(), self.lines)

    def identity(self) -> Mapping[str, JSON]:
        return {"source": "sample", "file": self.name, "sha256": hashlib.sha256(self._read()).hexdigest()}

    def _read(self) -> bytes:
        return (files("apl_bench.tasks") / "data" / self.name).read_bytes()


@dataclass(frozen=True)
class HubSource(Generic[R]):
    """A dataset at a revision, from the hub or from its local cache."""

    dataset: HubDataset[R]
    revision: str

    def rows(self) -> list[R]:
        return [row for split in _SPLITS for row in self._rows(split)]

    def identity(self) -> Mapping[str, JSON]:
        return {"source": "hub", "repository": self.dataset.repository, "revision": self.revision}

    def _rows(self, split: Split) -> list[R]:
        from pyarrow import parquet

        table = parquet.read_table(self._download(split), columns=list(self.dataset.columns)).to_pydict()
        records = zip(*(table[column] for column in self.dataset.columns), strict=True)
        fields = (dict(zip(self.dataset.columns, record, strict=True)) for record in records)
        kept, broken = _parse_all(fields, lambda record: self.dataset.parse(record, split), "row")
        if broken:
            raise SpecError(f"{self.dataset.repository} at revision {self.revision}, split {split}, {_some(broken)}. "
                            f"Use the revision {self.dataset.revision}")  # fmt: skip
        return kept

    def _download(self, split: Split) -> str:
        from huggingface_hub import hf_hub_download

        name, revision = self.dataset.repository, self.revision
        try:
            return hf_hub_download(name, self.dataset.files[split], repo_type="dataset", revision=revision)
        except OSError as error:
            raise NotHereError(
                f"{name} at revision {revision} is not in the local cache and could not be downloaded "
                f"({type(error).__name__}). Where there is a network: hf download --repo-type dataset {name} "
                f"--revision {revision} ; HF_HUB_OFFLINE must not be set while it downloads"
            ) from error


def file_kind(lines: Lines[R]) -> Kind[R]:
    """The source `file` of a task: `path`, and `sha256` to check it by."""

    def opened(settings: Settings) -> FileSource[R]:
        path = settings["path"]
        if path is None:
            raise SpecError("task.path is None; expected the file to read, as task.source is 'file'")
        return FileSource(Path(path), settings["sha256"], lines)

    return Kind(("path", "sha256"), opened)


def hub_kind(dataset: HubDataset[R]) -> Kind[R]:
    """The source `hub` of a task, at a `revision` that is a commit: a branch would change under a published number."""

    def opened(settings: Settings) -> HubSource[R]:
        revision = settings["revision"]
        if not COMMIT.fullmatch(revision or ""):
            raise SpecError(
                f"task.revision is {revision!r}; expected the 40 hex digits of a commit, such as --set "
                f"task.revision={dataset.revision}"
            )
        return HubSource(dataset, str(revision))

    return Kind(("revision",), opened)


def parse_lines(name: str, data: bytes, lines: Lines[R]) -> list[R]:
    """Every row of a JSONL file's bytes; raises one SpecError that lists the first broken lines and counts them all."""
    rows, broken = _parse_all(_lines(data), lambda line: lines.parse(_object(line)), "line")
    if broken:
        raise SpecError(f"{name!r} has {_some(broken)}. Mend or remove them: nothing is dropped silently")
    if not rows:
        raise SpecError(f"{name!r} has no rows; expected one JSON object a line with {lines.fields}")
    return rows


def check_sha256(data: bytes, expected: str, what: str, remedy: str) -> None:
    """Raise SpecError with both checksums and the remedy where the data are not what was expected."""
    found = hashlib.sha256(data).hexdigest()
    if found != expected.lower():
        raise SpecError(f"{what} has sha256 {found}; expected {expected}: {remedy}")


def text_field(fields: Mapping[str, Any], name: str) -> str:
    """The field, a text that can be written as UTF-8 (JSON may hold half of a surrogate pair, which cannot)."""
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip() or not encodable(value):
        raise ValueError(f"{name} is {shown(fields, name)}; expected a text")
    return value


def split_field(fields: Mapping[str, Any]) -> Split:
    """The field `split`."""
    for split in _SPLITS:
        if fields.get("split") == split:
            return split
    raise ValueError(f"split is {shown(fields, 'split')}; expected train or test")


def shown(fields: Mapping[str, Any], name: str) -> str:
    """The value as an error may show it: escaped, and short."""
    if name not in fields:
        return "missing"
    text = ascii(fields[name])
    return text if len(text) <= 40 else f"{text[:40]}..."


def _parse_all(items: Iterable[Any], parse: Callable[[Any], R], word: str) -> tuple[list[R], list[str]]:
    """The rows, and what is wrong with each item that makes none: "line 7: ...", counted from 1."""
    rows: list[R] = []
    broken: list[str] = []
    for number, item in enumerate(items, start=1):
        try:
            rows.append(parse(item))
        except ValueError as error:
            broken.append(f"{word} {number}: {error}")
    return rows, broken


def _lines(data: bytes) -> Iterator[bytes | str]:
    """The file's lines; where a gzip stream is damaged, what is wrong with it, as a text in the place of a line."""
    plain = io.BytesIO(data)
    try:
        yield from gzip.GzipFile(fileobj=plain) if data.startswith(b"\x1f\x8b") else plain
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield f"the gzip stream is cut off or damaged here ({error})"


def _object(line: bytes | str) -> dict[str, Any]:
    if isinstance(line, str):
        raise ValueError(line)
    try:
        fields = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise ValueError(f"a JSON {type(fields).__name__}; expected an object")
    return fields


def _some(broken: list[str]) -> str:
    more = f" and {len(broken) - _NUM_SHOWN} more" if len(broken) > _NUM_SHOWN else ""
    return f"{len(broken)} broken row{'s' if len(broken) > 1 else ''}: {'; '.join(broken[:_NUM_SHOWN])}{more}"
