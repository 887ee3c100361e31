"""Rows as files: JSONL, parquet, and the folder that `datasets` saves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from apl_bench.records import to_json, write_atomically
from apl_bench.types import SpecError

SPLIT = "train"


@dataclass(frozen=True)
class Format:
    """How a table is written into a folder, and which files of it hold the split, as the hub's loader is told."""

    write: Callable[[pa.Table, Path], None]
    data_files: str


def _write_jsonl(table: pa.Table, folder: Path) -> None:
    lines = "".join(to_json(row) + "\n" for row in table.to_pylist())
    write_atomically(folder / "data" / f"{SPLIT}.jsonl", lines)


def _write_parquet(table: pa.Table, folder: Path) -> None:
    path = folder / "data" / f"{SPLIT}-00000-of-00001.parquet"
    path.parent.mkdir()
    pq.write_table(table, path)


def _write_datasets(table: pa.Table, folder: Path) -> None:
    """As `DatasetDict.save_to_disk`; the fingerprint is of the content, so that the same rows give the same bytes."""
    import datasets

    sink = hashlib.sha256(table.schema.to_string().encode())
    sink.update(to_json(table.to_pylist()).encode())
    fingerprint = sink.hexdigest()[:16]
    data = datasets.Dataset(datasets.table.InMemoryTable(table), split=datasets.Split.TRAIN, fingerprint=fingerprint)
    shows_progress = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        datasets.DatasetDict({SPLIT: data}).save_to_disk(folder)
    finally:
        if shows_progress:
            datasets.enable_progress_bars()


FORMATS: Mapping[str, Format] = {
    "jsonl": Format(_write_jsonl, f"data/{SPLIT}.jsonl"),
    "parquet": Format(_write_parquet, f"data/{SPLIT}-*.parquet"),
    "datasets": Format(_write_datasets, f"{SPLIT}/data-*.arrow"),
}


def require_installed(name: str) -> None:
    """Raise SpecError where a format needs a package that is not there."""
    if name == "datasets" and find_spec("datasets") is None:
        raise SpecError("--format datasets needs the package datasets, which is not installed: "
                        "pip install 'apl-bench[datasets]'; jsonl and parquet need nothing")  # fmt: skip


def features(schema: pa.Schema) -> list[dict[str, Any]]:
    """The columns as a dataset card's `dataset_info.features` lists them."""
    return [{"name": field.name, **_feature(field.type)} for field in schema]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        item = _feature(kind.value_type)
        return {"list": item.get("dtype") or item["struct"]}
    if pa.types.is_struct(kind):
        return {"struct": features(pa.schema(list(kind)))}
    return {"dtype": type_name(kind)}


def type_name(kind: pa.DataType) -> str:
    """A type as `datasets` calls it: a list by what is in it."""
    if pa.types.is_list(kind):
        return f"list of {type_name(kind.value_type)}"
    return "float64" if pa.types.is_float64(kind) else str(kind)


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
