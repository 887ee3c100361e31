"""Who works on a cell: numbered files beside the run, each made by one process alone, and a heartbeat.

The newest file names the owner. Whoever finds it released, or its process gone, makes the next number by a hard link,
which only one of several can do; it takes part in no race with the old owner, whose file nobody changes. The newest
file is never removed before the run is complete: so one who acts on an old view makes a number that is not the newest,
sees that, and withdraws.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

FOLDER = ".claim"
HEARTBEAT_S = 10.0
STALE_S = 120.0  # above what a network file system may keep to itself about a file's time
MAX_BYTES = 4096
_NAME = re.compile(r"[0-9]{6}")
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that claimed a cell. `machine` tells apart machines, their boots and their process numberings;
    `started` is when the process began, in ticks of that machine; `nonce` is of this claim."""

    host: str
    machine: str
    pid: int
    started: int
    nonce: str
    released: bool = False

    @classmethod
    def here(cls) -> Self:
        """This process, for a new claim."""
        pid = os.getpid()
        return cls(socket.gethostname(), _machine(), pid, _started(pid) or 0, secrets.token_hex(8))

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """None for what `to_bytes` cannot have written: a claim that is being written, or somebody else's file."""
        try:
            fields: Any = json.loads(data)
        except ValueError:
            return None
        kinds: Mapping[str, type] = {"host": str, "machine": str, "pid": int, "started": int, "nonce": str,
                                     "released": bool}  # fmt: skip
        is_ours = isinstance(fields, dict) and set(fields) == set(kinds)
        if not is_ours or any(type(fields[name]) is not kind for name, kind in kinds.items()):
            return None
        return cls(**fields)

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def __str__(self) -> str:
        return f"{self.host} (process {self.pid})"


class HeldError(Exception):
    """Somebody else works on the cell; `owner` is None where that cannot be read just now."""

    def __init__(self, owner: Owner | None) -> None:
        super().__init__(f"claimed by {owner or 'another process'}")
        self.owner = owner


class LostError(Exception):
    """The claim passed to somebody else, who found no sign of life for too long."""


class Claim:
    """A cell that is this process's, until `release` or `finish`; a thread keeps it alive."""

    def __init__(self, folder: Path, number: int, owner: Owner) -> None:
        self._folder, self._number, self._owner = folder, number, owner
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name=f"claim {folder}")
        self._thread.start()

    def require(self) -> None:
        """Raise LostError where the claim is no longer this process's."""
        if self._lost.is_set():
            raise LostError(f"{self._folder.parent} was claimed by another process meanwhile")

    def release(self) -> None:
        """Let others take up the cell, which is not complete."""
        self._end()
        if not self._lost.is_set():
            _write(self._folder, self._number, replace(self._owner, released=True), os.replace)

    def finish(self) -> None:
        """The run is complete: nothing here is needed any more."""
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)  # somebody late may be in it, who will find the run complete

    def beat(self) -> None:
        """One sign of life. Raises LostError where the claim has passed on."""
        newest = max(_numbers(self._folder), default=0)
        if newest != self._number:
            self._lost.set()
            self.require()
        os.utime(_path(self._folder, self._number))

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(HEARTBEAT_S):
            try:
                self.beat()
                last = time.monotonic()
            except LostError:
                return
            except OSError:  # the file system may come back, in time or too late
                if time.monotonic() - last > STALE_S / 2:
                    self._lost.set()
                    return

    def _end(self) -> None:
        self._stop.set()
        self._thread.join()


def claim(run: Path) -> Claim:
    """Claim the cell whose run directory this is. Raises HeldError while somebody else has it.

    Whether the run is complete is to be looked at again afterwards: its last owner may just have finished.
    """
    try:
        return _claim(run / FOLDER, Owner.here())
    except FileNotFoundError:  # its owner finished just now, and removed the folder
        raise HeldError(None) from None


def _claim(folder: Path, mine: Owner) -> Claim:
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(_numbers(folder), default=0)
    if newest and _is_alive(folder, newest):
        raise HeldError(_read(folder, newest))
    number = newest + 1
    try:
        _write(folder, number, mine, _link)
    except FileExistsError:
        raise HeldError(_read(folder, number)) from None
    if max(_numbers(folder), default=0) != number:
        with suppress(OSError):
            _path(folder, number).unlink()
        raise HeldError(_read(folder, number + 1))
    for older in _numbers(folder):
        if older < number:
            with suppress(OSError):
                _path(folder, older).unlink()
    return Claim(folder, number, mine)


def holder(run: Path) -> Owner | None:
    """Who works on the cell as far as one can see; None where nobody does."""
    folder = run / FOLDER
    newest = max(_numbers(folder), default=0)
    return _read(folder, newest) if newest and _is_alive(folder, newest) else None


def _is_alive(folder: Path, number: int) -> bool:
    """Whether the owner of this claim may still be at work: by its process where that is of this machine, else by the
    time of its last sign of life, both times being the file system's own."""
    try:
        with _path(folder, number).open("rb") as file:  # opened, so that a network file system asks for its time anew
            owner, beaten = Owner.read(file.read(MAX_BYTES)), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return False
    if owner is not None and owner.released:
        return False
    if owner is not None and owner.machine == _machine():
        return _started(owner.pid) == owner.started
    return _now(folder) - beaten < STALE_S


def _now(folder: Path) -> float:
    """The time as the file system tells it; ours, where nothing can be written."""
    path = folder / f"now-{secrets.token_hex(8)}"
    try:
        path.touch(exist_ok=False)
        now = path.stat().st_mtime
        path.unlink()
    except OSError:
        return time.time()
    return now


def _numbers(folder: Path) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(folder) if _NAME.fullmatch(name))
    except FileNotFoundError:
        return []


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}"


def _read(folder: Path, number: int) -> Owner | None:
    try:
        with _path(folder, number).open("rb") as file:
            return Owner.read(file.read(MAX_BYTES))
    except FileNotFoundError:
        return None


def _write(folder: Path, number: int, owner: Owner, put: Any) -> None:
    """Put the whole content under the number, by way of a file of its own."""
    temporary = folder / f"new-{owner.nonce}"
    try:
        temporary.write_bytes(owner.to_bytes())
        put(temporary, _path(folder, number))
    finally:
        temporary.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    """Raises FileExistsError for all but one. Where there are no links the file itself is made, and stands empty for a
    moment."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with target.open("xb") as file:
            file.write(source.read_bytes())


@cache
def _machine() -> str:
    """Processes for which this is the same see one another under their numbers."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _started(pid: int) -> int | None:
    """When a process of this machine began, in ticks since boot; 0 where the system does not tell, None for one that is
    gone (or dead, and not yet buried by its parent)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return None if fields[0] in "ZX" else int(fields[19])
