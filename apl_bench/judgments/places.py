"""Where the index of a ledger may stand: beside it, on this machine where the ledger is on a network, or nowhere.

SQLite's shared memory and its locks do not work over a network, and its database would come back corrupt. The ledger
itself needs no more than a lock and files that grow, one for each writer.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from apl_bench.cache import cache_folder

NETWORK_FILE_SYSTEMS = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "fuse.sshfs", "9p", "beegfs", "gpfs", "ceph", "fuse.glusterfs",
    "afs",
})  # fmt: skip

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class IndexPlace:
    """The folder of an index; whether it is only of one process, which then removes it; what a user should know."""

    folder: Path
    private: bool = False
    notice: str | None = None

    def remove_private(self) -> None:
        """Remove what nobody else can use."""
        if self.private:
            shutil.rmtree(self.folder.parent, ignore_errors=True)


def read_mounts() -> str:
    """What is mounted where, as Linux tells it; nothing on other systems."""
    try:
        return Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def file_system(path: Path, mounts: str) -> str | None:
    """The type of the file system that holds an absolute path, by the text of /proc/mounts; None where it is not told.

    Of several at one place the last one counts: it covers the others.
    """
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[1]))
        if path.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = len(point.parts), fields[2]
    return best and best[1]


def network_type(path: Path, mounts: str) -> str | None:
    """The type of the network file system that holds this path, None where it is on this machine."""
    kind = file_system(path.resolve(), mounts)
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def index_place(ledger: Path, mounts: str, read_only: bool) -> IndexPlace:
    """Where the index of this ledger stands. A private folder holds a copy of the index that is there, if any."""
    beside = ledger / "index"
    if read_only:
        return private_place(beside, f"the ledger {ledger} cannot be written; it is read with an index of this process "
                             "alone, and nothing can be recorded in it")  # fmt: skip
    if _is_of_another_user(beside):
        return private_place(beside, f"the index of the ledger {ledger} belongs to another user; this process makes "
                             "one of its own")  # fmt: skip
    kind = network_type(ledger, mounts)
    if kind is None:
        return IndexPlace(beside)
    shared = cache_folder()
    if network_type(shared, mounts):
        return private_place(beside, f"the ledger {ledger} is on a network file system ({kind}), and so is {shared}; "
                             "each process makes an index of its own. Set APL_BENCH_CACHE_DIR to a folder of this "
                             "machine to keep one")  # fmt: skip
    folder = shared / "indexes" / hashlib.sha256(os.fsencode(ledger.resolve())).hexdigest()[:16] / "index"
    return IndexPlace(folder, notice=f"the ledger {ledger} is on a network file system ({kind}); its index is kept on "
                      f"this machine, in {folder}")  # fmt: skip


def _is_of_another_user(folder: Path) -> bool:
    try:
        return folder.lstat().st_uid != os.geteuid()
    except OSError:
        return False


def private_place(index: Path, notice: str | None = None) -> IndexPlace:
    """A new folder for an index that nobody else can enter, with a copy of the database of `index` where it is one.

    A copy may be of two moments and not fit together: as every index, it is looked at before it is believed.
    """
    folder = Path(tempfile.mkdtemp(prefix="apl-bench-index-")) / "index"
    folder.mkdir(mode=0o700)
    for name in ("cache.db", "cache.db-wal"):
        with suppress(OSError):
            _copy_plain_file(index / name, folder / name)
    return IndexPlace(folder, private=True, notice=notice)


def _copy_plain_file(source: Path, target: Path) -> None:
    """Copy a file, never what a link points to, or a pipe. Raises OSError."""
    with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{source} is no plain file")
        with target.open("xb") as copy:
            shutil.copyfileobj(file, copy)
