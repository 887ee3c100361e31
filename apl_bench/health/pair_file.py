"""Files of pairs to judge: JSONL, gzipped or not, one object a line.

    {"prompt": "...", "first": "...", "second": "...", "label": "first"}

`label` is `first`, `second` or `tie`, what a person or another source says is better, and may be left out. Other names
are refused, so that no misspelt label is taken for none.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from apl_bench.types import Completion, Pair, Prompt, SpecError, Verdict

TEXTS = ("prompt", "first", "second")
LABELS = ("first", "second", "tie")


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A pair of a file; `label` in the pair's own order, None where the file has none."""

    pair: Pair
    label: Verdict | None


def read_pairs(path: Path) -> list[LabelledPair]:
    """The pairs of a file, in its order. Raises SpecError with the number of the line that is none."""
    rows = []
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            rows.append(_row(line, f"{path}:{number}"))
    if not rows:
        raise SpecError(f"{path} has no pairs; expected JSONL with prompt, first, second and perhaps label")
    return rows


def _lines(path: Path) -> Iterator[str]:
    """The lines as text; a file that begins as gzip does is unpacked, whatever it is called."""
    try:
        with path.open("rb") as raw:
            is_packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if is_packed else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield line.decode("utf-8")
                except UnicodeDecodeError:
                    raise SpecError(f"{path}:{number} is not UTF-8; expected JSONL, gzipped or not") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SpecError(f"{path} begins as a gzip file and cannot be unpacked: {error}") from None


def _row(line: str, place: str) -> LabelledPair:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{place} is not JSON ({error}); expected one object a line") from None
    if not isinstance(row, dict):
        raise SpecError(f"{place} is {type(row).__name__}; expected an object with prompt, first and second")
    unknown = sorted(row.keys() - {*TEXTS, "label"})
    if unknown:
        raise SpecError(f"{place} has {unknown[0]!r}; expected prompt, first, second, and perhaps label")
    for name in TEXTS:
        if not isinstance(row.get(name), str):
            seen = repr(row[name])[:60] if name in row else "nothing"
            raise SpecError(f"{place} has {seen} as {name!r}; expected a text")
        if any("\ud800" <= char <= "\udfff" for char in row[name]):
            raise SpecError(f"{place} has half a character (a lone surrogate) in {name!r}; expected whole ones")
    label = row.get("label")
    if label is not None and label not in LABELS:
        raise SpecError(f"{place} has the label {repr(label)[:60]}; expected 'first', 'second', 'tie', or none")
    prompt = Prompt(hashlib.sha256(row["prompt"].encode()).hexdigest()[:12], row["prompt"])
    first, second = (Completion(row[side], (), finished=True) for side in ("first", "second"))
    return LabelledPair(Pair(prompt, first, second), None if label is None else Verdict(label))
