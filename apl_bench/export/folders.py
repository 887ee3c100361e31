"""Folders of files for others: under their name whole or not at all, with a list of what is in them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apl_bench.records import write_atomically
from apl_bench.types import SpecError

MANIFEST = "export.json"
SCHEMA = "apl-export/1"


@contextmanager
def new_folder(out: Path, replace: bool, about: Mapping[str, Any]) -> Iterator[Path]:
    """A temporary folder to write into, which takes the name `out` once it is whole; `about` goes into its export.json.

    Raises SpecError where `out` is there already, and with `replace` where it holds what no export wrote.
    """
    out = out.resolve()
    if out.exists():
        _require_replaceable(out, replace)
    temporary, old = (out.with_name(f".{out.name}.{os.getpid()}.{end}") for end in ("new", "old"))
    temporary.mkdir(parents=True)
    try:
        yield temporary
        content = {"schema": SCHEMA, **about, "files": checksums(temporary)}
        write_atomically(temporary / MANIFEST, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        if out.exists():
            out.rename(old)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def checksums(folder: Path) -> dict[str, str]:
    """sha256 of each file below a folder, by its path there; the list itself is left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in named.items() if name != MANIFEST}


def _require_replaceable(out: Path, replace: bool) -> None:
    if not replace:
        raise SpecError(f"{out} is there already; choose another --out, or replace what an earlier export wrote there "
                        "with --replace")  # fmt: skip
    manifest = out / MANIFEST
    if not manifest.is_file():
        raise SpecError(f"{out} holds no {MANIFEST}, so that no export wrote it; nothing is replaced. Choose another "
                        "--out, or remove it yourself")  # fmt: skip
    written = json.loads(manifest.read_text(encoding="utf-8")).get("files", {})
    other = sorted(name for name, digest in checksums(out).items() if written.get(name) != digest)
    if other:
        raise SpecError(f"{out} holds what the export did not write, or was changed since: {', '.join(other[:5])}. "
                        "Nothing is replaced; choose another --out, or remove it yourself")  # fmt: skip
