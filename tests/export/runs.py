"""The golden run, and changed copies of it: other verdicts, another seed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apl_bench.records import Run, to_json
from apl_bench.spec import RunSpec
from tests.test_replay import GOLDEN

Change = Callable[[dict[str, Any]], None]


def copy(folder: Path) -> Run:
    return Run(Path(shutil.copytree(GOLDEN, folder)))


def relabelled(folder: Path, change: Change) -> Run:
    """A copy whose labels of step 2 are changed."""
    run = copy(folder)
    rows = run.all_step_rows(2)
    for row in rows:
        if row["kind"] == "label":
            change(row)
    (run.path / "steps" / "0002.jsonl").write_text("".join(to_json(row) + "\n" for row in rows))
    return run


def respecified(folder: Path, **changes: Any) -> Run:
    """A copy under another spec: `strategy="random"`, `seed=4`, `training__epochs=3`."""
    run = copy(folder)
    tables = json.loads(json.dumps(run.manifest["spec"]))
    preset, seed = tables.pop("preset"), changes.pop("seed", tables.pop("seed"))
    if "strategy" in changes:
        tables["strategy"] = {"name": changes.pop("strategy")}
    for key, value in changes.items():
        table, _, name = key.partition("__")
        tables[table][name] = value
    spec = RunSpec.from_tables(preset, tables, seed)
    manifest = {**run.manifest, "identity": spec.identity, "spec": spec.to_tables()}
    (folder / "spec.json").write_text(json.dumps(manifest))
    return Run(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
