"""What several cells would compute alike, computed once: files named by what went in and by what came out.

A group is a folder, named by the hash of all that its values depend on; in it stand blocks, each a JSON file named by
the hash of its own bytes. Blocks are written whole under their names and never changed: writers need no lock, and one
that is torn or altered does not bear its name, is removed and computed again. Nothing is unpickled. All of it can be
removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apl_bench.types import JSON

SCHEMA = "apl-shared/2"
LOOK_EVERY = 16  # blocks written between looks at how large the store is
KEEP = 0.8  # of its limit, once it went beyond


def digest(value: JSON) -> str:
    """128 bits of the sha256 of the value as JSON, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


@dataclass
class Store:
    """Values by group and key below `folder`, at most about `limit_bytes` of them: the longest unused ones go first.

    `notices` has a sentence for everything that had to be thrown away.
    """

    folder: Path
    limit_bytes: int
    notices: list[str] = field(default_factory=list)
    _num_written: int = 0

    def get(self, group: str) -> dict[str, Any]:
        """All values of a group, by key."""
        values: dict[str, Any] = {}
        for path in sorted(self._group(group).glob("*.json")):
            values |= self._block(path, group) or {}
        return values

    def put(self, group: str, values: Mapping[str, JSON]) -> None:
        """Add values; the same again changes nothing."""
        data = json.dumps({"schema": SCHEMA, "group": group, "values": values}, separators=(",", ":")).encode()
        path = self._group(group) / f"{hashlib.sha256(data).hexdigest()}.json"
        self._write(path, lambda temporary: temporary.write_bytes(data))

    def get_file(self, group: str, name: str, sha256: str) -> Path | None:
        """A file of the group, None where it is not there or its content is not what it was."""
        path = self._group(group) / name
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return None
        if found != sha256:
            self._refuse(path)
            return None
        self._used(path)
        return path

    def put_file(self, group: str, name: str, write: Callable[[Path], object]) -> str:
        """Let `write` make a file of the group under a temporary name; the sha256 of what it wrote."""
        found = ""

        def writing(temporary: Path) -> None:
            nonlocal found
            write(temporary)
            found = hashlib.sha256(temporary.read_bytes()).hexdigest()

        self._write(self._group(group) / name, writing)
        return found

    def _group(self, group: str) -> Path:
        return self.folder / group[:2] / group

    def _block(self, path: Path, group: str) -> dict[str, Any] | None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None  # removed meanwhile, to make room
        content = json.loads(data) if hashlib.sha256(data).hexdigest() == path.stem else {}
        if (content.get("schema"), content.get("group")) != (SCHEMA, group):
            self._refuse(path)
            return None
        self._used(path)
        values: dict[str, Any] = content["values"]
        return values

    def _refuse(self, path: Path) -> None:
        self.notices.append(f"{path} is not what was written there; it was removed, and is computed again")
        with suppress(OSError):
            path.unlink()

    def _used(self, path: Path) -> None:
        with suppress(OSError):
            os.utime(path)

    def _write(self, path: Path, write: Callable[[Path], object]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"new-{secrets.token_hex(8)}")  # which nobody takes for a block
        try:
            write(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self._num_written += 1
        if self._num_written % LOOK_EVERY == 1:
            self._make_room()

    def _make_room(self) -> None:
        """Remove the longest unused files where the store is beyond its limit."""
        files = sorted(_files(self.folder))
        total = sum(size for _, size, _ in files)
        if total <= self.limit_bytes:
            return
        for _, size, path in files:
            if total <= KEEP * self.limit_bytes:
                return
            with suppress(OSError):
                path.unlink()
            total -= size


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file was last used, its bytes, its path."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            stat = path.stat()
            if path.is_file():
                yield stat.st_mtime, stat.st_size, path
