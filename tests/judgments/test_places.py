"""Folders that are full, cannot be written, or stand on a network: said in one sentence, and nothing is lost."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apl_bench.cache import cache_folder
from apl_bench.judgments import ledger as ledger_module
from apl_bench.judgments.files import LedgerError
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.places import file_system, index_place, network_type
from apl_bench.judgments.record import Record
from apl_bench.types import Reply

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
tmpfs /home/me/fast tmpfs rw 0 0
//nas/share /mnt/my\\040data cifs rw 0 0
host:/x /data/over fuse.sshfs rw 0 0
/dev/sdb1 /data/over ext4 rw 0 0
broken line
"""


def record(number: int) -> Record:
    return Record.of({"model": "m", "repeat": number}, Reply("A", "m"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.add([record(0), record(1)])
    return tmp_path / "ledger"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/usr", "ext4"),
        ("/home/me/runs", "nfs4"),
        ("/home/me/fast/runs", "tmpfs"),
        ("/homes", "ext4"),
        ("/mnt/my data/ledger", "cifs"),
        ("/data/over/ledger", "ext4"),
    ],
)
def test_the_innermost_and_last_mount_counts(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("text", ["", "nonsense", "a b"])
def test_where_mounts_are_not_told_nothing_is_known(text: str) -> None:
    assert file_system(Path("/home"), text) is None


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "lustre", "fuse.sshfs", "9p", "beegfs", "gpfs"])
def test_these_are_on_a_network(kind: str, tmp_path: Path) -> None:
    assert network_type(tmp_path, f"x {tmp_path} {kind} rw 0 0\n") == kind
    assert network_type(tmp_path, f"x {tmp_path} ext4 rw 0 0\n") is None


def test_a_link_to_a_network_is_on_it(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    assert network_type(tmp_path / "near", f"x {tmp_path / 'far'} nfs rw 0 0\n") == "nfs"


def test_on_a_network_the_index_stands_on_this_machine(folder: Path) -> None:
    def mounts() -> str:
        return f"server:/x {folder} nfs4 rw 0 0\n"

    with Ledger(folder) as before:
        before.rebuild()
    index = folder / "index"
    for path in index.iterdir():
        path.unlink()
    index.rmdir()
    for number in (2, 3):
        with Ledger(folder, mounts=mounts) as ledger:
            ledger.add([record(number)])
            assert all(ledger.get(record(seen).key) == record(seen) for seen in range(number + 1))
        (notice,) = ledger.notices
        assert "network file system (nfs4)" in notice
        assert str(cache_folder() / "indexes") in notice
        assert not index.exists()
    assert len(list((cache_folder() / "indexes").iterdir())) == 1


def test_where_the_cache_is_on_a_network_too_each_process_has_an_index_of_its_own(folder: Path) -> None:
    mounts = f"server:/x {folder} nfs4 rw 0 0\nserver:/y {cache_folder()} nfs4 rw 0 0\n"
    with Ledger(folder, mounts=lambda: mounts) as ledger:
        assert ledger.get(record(1).key) == record(1)
        ledger.add([record(2)])
        assert "APL_BENCH_CACHE_DIR" in ledger.notices[0]
    assert not (cache_folder() / "indexes").exists()
    with Ledger(folder) as again:
        assert again.get(record(2).key) == record(2)


def test_a_private_index_is_removed(folder: Path) -> None:
    place = index_place(folder, "", read_only=True)
    assert place.folder.stat().st_mode & 0o777 == 0o700
    assert place.folder.parent.stat().st_mode & 0o777 == 0o700
    assert (place.folder / "cache.db").read_bytes() == (folder / "index" / "cache.db").read_bytes()
    place.remove_private()
    assert not place.folder.parent.exists()
    assert (folder / "index" / "cache.db").exists()


def test_what_an_index_links_to_is_not_copied(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "index" / "cache.db").unlink()
    (folder / "index" / "cache.db").symlink_to(tmp_path / "secret")
    place = index_place(folder, "", read_only=True)
    assert list(place.folder.iterdir()) == []
    place.remove_private()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_an_index_of_another_user_is_left_alone(folder: Path) -> None:
    os.chown(folder / "index", 65534, 65534)
    before = snapshot(folder / "index")
    with Ledger(folder) as ledger:
        assert ledger.get(record(1).key) == record(1)
        ledger.add([record(2)])
    assert "belongs to another user" in ledger.notices[0]
    assert snapshot(folder / "index") == before


@contextmanager
def _refuse(folder: Path) -> Iterator[None]:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
    yield


def assert_read_and_not_written(folder: Path) -> None:
    """Everything is found, nothing is made in the folder, and adding is refused in one sentence."""
    before = snapshot(folder)
    with Ledger(folder) as ledger:
        assert ledger.get_many([record(0).key, record(1).key, record(2).key]).keys() == {record(0).key, record(1).key}
        assert ledger.newest_generation() == 0
        with pytest.raises(LedgerError, match=r"cannot write to the ledger .*: .*\. Make the folder writable"):
            ledger.add([record(2)])
        with pytest.raises(LedgerError, match=r"cannot write to the ledger"):
            ledger.import_pack(ledger.export(folder.parent / "pack"))
        assert ledger.get(record(1).key) == record(1)
    assert "cannot be written" in ledger.notices[0]
    assert len(ledger.notices) == 1
    assert snapshot(folder) == before


def test_a_folder_that_cannot_be_written_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "exclusively", _refuse)
    assert_read_and_not_written(folder)


def test_bad_lines_of_a_folder_that_cannot_be_written_are_only_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bad.jsonl").write_bytes(b"junk\n")
    monkeypatch.setattr(ledger_module, "exclusively", _refuse)
    with Ledger(folder) as ledger:
        assert ledger.get(record(1).key) == record(1)
    assert "No copies were made" in ledger.notices[1]
    assert not (folder / "quarantine").exists()


def test_a_folder_that_is_not_there_and_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"cannot open the ledger .*Not a directory"):
        Ledger(tmp_path / "file" / "ledger")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_without_the_permission_to_write_is_read(folder: Path) -> None:
    for path in (folder, *folder.iterdir()):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert_read_and_not_written(folder)
    finally:
        for path in (folder, *folder.iterdir()):
            path.chmod(path.stat().st_mode | 0o200)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said(folder: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: object, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("apl_bench.judgments.files.fcntl.flock", flock)
    with pytest.raises(LedgerError, match=r"cannot open the ledger .*no locks.*--ledger"):
        Ledger(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB of its own."""
    point = tmp_path / "disk"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(point)]
    try:
        done = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        done = False
    if not done:
        pytest.skip("this user cannot mount a file system")
    yield point
    subprocess.run(["umount", "--lazy", str(point)], check=True)


def test_on_a_disk_that_fills_up_nothing_that_was_added_is_lost(small_disk: Path) -> None:
    added: list[Record] = []

    def fill(ledger: Ledger) -> None:
        for number in range(2000):
            ledger.add([record(number)])
            added.append(record(number))

    with Ledger(small_disk / "ledger") as ledger, pytest.raises(LedgerError, match=r"(No space left|full).*Free some"):
        fill(ledger)
    assert added
    (small_disk / "ledger" / "index" / "cache.db").unlink()  # some space
    with Ledger(small_disk / "ledger") as again:
        assert again.get_many([item.key for item in added]) == {item.key: item for item in added}
        again.add([record(9999)])
        assert again.get(record(9999).key) == record(9999)


def test_a_file_system_mounted_to_be_read_only_is_read(small_disk: Path) -> None:
    with Ledger(small_disk / "ledger") as ledger:
        ledger.add([record(0), record(1)])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    before = snapshot(small_disk)
    with Ledger(small_disk / "ledger") as ledger:
        assert ledger.get_many([record(0).key, record(1).key]).keys() == {record(0).key, record(1).key}
        with pytest.raises(LedgerError, match=r"cannot write to the ledger .*Read-only file system"):
            ledger.add([record(2)])
    assert snapshot(small_disk) == before
