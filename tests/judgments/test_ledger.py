"""The ledger: what was added is there, whoever wrote it and however they stopped."""

from __future__ import annotations

import base64
import errno
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from apl_bench.judgments.files import FILE_NAME, LedgerError, Writer, read_lines
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import MAX_LINE_BYTES, Record
from apl_bench.types import Reply


def record(number: int, raw: str = "A") -> Record:
    return Record.of({"model": "m", "texts": ["a \N{FILM FRAMES}", "b"], "repeat": number}, Reply(raw, "m"))


def keys(records: Sequence[Record]) -> list[str]:
    return [item.key for item in records]


def lines(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def test_what_was_added_is_there_now_and_after_opening_again(folder: Path) -> None:
    records = [record(number) for number in range(5)]
    with Ledger(folder) as ledger:
        ledger.add(records)
        assert ledger.get(records[2].key) == records[2]
        assert ledger.get("0" * 64) is None
    with Ledger(folder) as again:
        assert again.get_many(keys(records)) == {item.key: item for item in records}
        assert list(again.records()) == records
    assert ledger.notices == again.notices == []


def test_records_come_in_the_order_of_the_keys_and_once(folder: Path) -> None:
    a, b, c = record(0), record(1), record(2)
    with Ledger(folder) as ledger:
        ledger.add([a, b])
        assert list(ledger.get_many([b.key, c.key, a.key, b.key])) == [b.key, a.key]


def test_the_first_writer_of_a_key_wins(folder: Path) -> None:
    with Ledger(folder) as one, Ledger(folder) as other:
        one.add([record(0, "A"), record(0, "B"), record(1, "A")])
        other.add([record(1, "B"), record(2, "B")])
        one.add([record(2, "A")])
        for ledger in (one, other):
            found = ledger.get_many(keys([record(0), record(1), record(2)]))
            assert [item.reply.raw for item in found.values()] == ["A", "A", "B"]
    assert len(lines(folder)) == 3


def test_adding_says_which_records_stand(folder: Path) -> None:
    with Ledger(folder) as one, Ledger(folder) as other:
        assert list(one.add([record(0, "A"), record(0, "B")]).values()) == [record(0, "A")]
        stand = other.add([record(0, "C"), record(1, "C")])
        assert sorted(item.reply.raw for item in stand.values()) == ["A", "C"]


def test_what_adding_notes_in_the_index_is_what_reading_the_files_gives(folder: Path) -> None:
    with Ledger(folder) as ledger, Ledger(folder) as other:
        for number in range(6):
            (ledger, other)[number % 2].add([record(number), record(number + 1, "B" * number)])
        noted = [ledger.where(record(number).key) for number in range(7)]
        ledger.rebuild()
        assert [ledger.where(record(number).key) for number in range(7)] == noted
        assert all(noted)
    with Ledger(folder) as again:
        assert again.notices == []


def test_what_others_write_is_seen_on_a_miss(folder: Path) -> None:
    with Ledger(folder) as reader, Ledger(folder) as writer:
        for number in range(3):
            assert reader.get(record(number).key) is None
            writer.add([record(number)])
            assert reader.get(record(number).key) == record(number)


class CountingWriter(Writer):
    """Counts writes, and what was on the disk when each of them returned."""

    sizes: list[int]  # set by the test

    def append(self, data: bytes) -> None:
        super().append(data)
        self.sizes.append(self.path.stat().st_size)


def test_a_batch_is_one_write_to_a_file_of_ones_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def counting_fsync(handle: int) -> None:
        fsync(handle)
        synced.append(handle)

    monkeypatch.setattr(os, "fsync", counting_fsync)
    CountingWriter.sizes = []
    with Ledger(folder, CountingWriter) as ledger:
        assert list(folder.glob("*.jsonl")) == []
        ledger.add([record(number) for number in range(50)])
        before = len(synced)
        ledger.add([record(number) for number in range(40, 90)])
        assert len(synced) == before + 1
        ledger.add([record(3)])
    (path,) = folder.glob("*.jsonl")
    assert CountingWriter.sizes == [len(b"".join(record(i).to_line() for i in range(n))) for n in (50, 90)]
    assert FILE_NAME.fullmatch(path.name)
    assert str(os.getpid()) in path.name.split("-")


def test_a_file_cut_anywhere_gives_its_whole_lines_and_says_where_the_torn_one_is(tmp_path: Path) -> None:
    path, line = tmp_path / "a.jsonl", record(0).to_line()
    for size in range(2 * len(line) + 1):
        path.write_bytes((line * 2)[:size])
        num_whole, rest = divmod(size, len(line))
        found = list(read_lines(path, 0))
        assert [item.data + b"\n" for item in found if not item.torn] == [line] * num_whole
        assert [item.offset for item in found if item.torn] == ([num_whole * len(line)] if rest else [])
        assert [item.end for item in found] == [len(line), 2 * len(line)][:num_whole] + ([size] if rest else [])


@pytest.mark.parametrize("cut", [1, 2, 40, 200, len(record(1).to_line()) - 1])
def test_a_torn_last_line_is_left_out_with_a_notice_and_nothing_is_lost_behind_it(folder: Path, cut: int) -> None:
    folder.mkdir()
    torn = folder / "20200101T000000Z-dead-1-0.jsonl"
    torn.write_bytes(record(0).to_line() + record(1).to_line()[:-cut])
    with Ledger(folder) as ledger:
        assert ledger.get(record(0).key) == record(0)
        assert ledger.get(record(1).key) is None
        (notice,) = ledger.notices
        assert f"byte {len(record(0).to_line())}" in notice
        assert torn.name in notice
        ledger.add([record(1), record(2)])
    with Ledger(folder) as again:
        assert list(again.get_many(keys([record(0), record(1), record(2)])).values()) == [
            record(0),
            record(1),
            record(2),
        ]
    assert torn.read_bytes().endswith(record(1).to_line()[:-cut])


def test_a_line_that_is_finished_later_is_read_then(folder: Path) -> None:
    folder.mkdir()
    path = folder / "a.jsonl"
    path.write_bytes(record(0).to_line()[:-9])
    with Ledger(folder) as ledger:
        assert ledger.get(record(0).key) is None
        path.write_bytes(record(0).to_line())
        assert ledger.get(record(0).key) == record(0)


BAD = [b"", b"not json", b"\xff\xfe\x00", record(8).to_line().replace(b'"A"', b'"B"').strip(), b"[" * 10_000]


def test_bad_lines_are_quarantined_and_reported_and_the_others_are_read(folder: Path) -> None:
    folder.mkdir()
    path = folder / "a.jsonl"
    path.write_bytes(b"".join([record(0).to_line(), *(line + b"\n" for line in BAD), record(1).to_line()]))
    before = path.read_bytes()
    with Ledger(folder) as ledger:
        assert list(ledger.get_many(keys([record(0), record(8), record(1)])).values()) == [record(0), record(1)]
        assert list(ledger.records()) == [record(0), record(1)]
    (notice,) = ledger.notices
    assert notice.startswith("5 lines of ")
    assert f"byte {len(record(0).to_line())}: it is not JSON" in notice
    copies = [json.loads(line) for line in (folder / "quarantine" / "a.jsonl").read_text().splitlines()]
    assert [base64.b64decode(c["base64"]) if "base64" in c else c["line"].encode() for c in copies] == BAD
    assert [before[c["offset"] :][: len(bad)] for c, bad in zip(copies, BAD, strict=True)] == BAD
    assert "changed after it was written" in copies[3]["reason"]
    assert path.read_bytes() == before


def test_a_quarantine_is_mentioned_again_and_not_doubled_by_a_rebuild(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(b"junk\n" + record(0).to_line())
    Ledger(folder).close()
    with Ledger(folder) as again:
        assert "quarantine" in again.notices[0]
        assert len(again.notices) == 1
    (folder / "index" / "cache.db").write_bytes(b"junk" * 1000)
    Ledger(folder).close()
    assert len((folder / "quarantine" / "a.jsonl").read_text().splitlines()) == 1


def test_a_line_without_end_is_quarantined_without_being_read_whole(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(b"x" * (2 * MAX_LINE_BYTES + 9) + b"\n" + record(0).to_line())
    assert len(next(read_lines(folder / "a.jsonl", 0)).data) == MAX_LINE_BYTES + 1
    with Ledger(folder) as ledger:
        assert ledger.get(record(0).key) == record(0)
    assert "more than" in ledger.notices[0]


def test_a_link_or_an_odd_name_is_not_read(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (tmp_path / "elsewhere.jsonl").write_bytes(record(0).to_line())
    (folder / "link.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    (folder / "a\x1b[31m.jsonl").write_bytes(record(0).to_line())
    with Ledger(folder) as ledger:
        assert ledger.get(record(0).key) is None
    assert len(ledger.notices) == 2
    assert "\x1b" not in "".join(ledger.notices)


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_file_that_lost_what_was_read_is_noticed(folder: Path, damage: str) -> None:
    with Ledger(folder) as ledger:
        ledger.add([record(0), record(1)])
    (path,) = folder.glob("*.jsonl")
    if damage == "truncate":
        path.write_bytes(record(0).to_line())
    else:
        path.unlink()
    with Ledger(folder) as again:
        assert len(again.notices) == 1
        assert again.get(record(1).key) is None
        assert (again.get(record(0).key) is None) == (damage == "remove")
    assert len(again.notices) == 1


def test_a_record_changed_in_place_is_not_believed(folder: Path) -> None:
    with Ledger(folder) as ledger:
        ledger.add([record(0), record(1)])
    (path,) = folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"raw":"A"', b'"raw":"B"', 1))
    with Ledger(folder) as again:
        assert again.get(record(0).key) is None
        assert again.get(record(1).key) == record(1)
    assert len(again.notices) == 2, "one for the index, one for the line"


class FullDisk(Writer):
    """Writes half of the third batch, then there is no space."""

    batches = 0  # set by the test

    def append(self, data: bytes) -> None:
        FullDisk.batches += 1
        if FullDisk.batches == 3:
            super().append(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().append(data)


def test_a_full_disk_is_said_and_loses_nothing_that_was_added(folder: Path) -> None:
    FullDisk.batches = 0
    with Ledger(folder, FullDisk) as ledger:
        ledger.add([record(0)])
        ledger.add([record(1)])
        with pytest.raises(LedgerError, match=r"cannot write to the ledger .*No space left on device.*Free some space"):
            ledger.add([record(2), record(3), record(4)])
        ledger.add([record(2), record(3), record(4)])
        everything = [record(number) for number in range(5)]
        assert list(ledger.get_many(keys(everything)).values()) == everything
    with Ledger(folder) as again:
        assert list(again.get_many(keys(everything)).values()) == everything


class ReadOnly(Writer):
    def __init__(self, folder: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))


def test_a_folder_that_cannot_be_written_is_said(folder: Path, tmp_path: Path) -> None:
    with (
        Ledger(folder, ReadOnly) as ledger,
        pytest.raises(LedgerError, match=r"Read-only file system.*APL_BENCH_CACHE_DIR"),
    ):
        ledger.add([record(0)])
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot open the ledger"):
        Ledger(tmp_path / "file")


CHILD = """
import sys
from pathlib import Path
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.types import Reply
name, folder = sys.argv[1], Path(sys.argv[2])
with Ledger(folder) as ledger:
    for start in range(0, 60, 5):
        batch = [Record.of({"repeat": number}, Reply(name, "m")) for number in range(start, start + 5)]
        ledger.add(batch)
        found = ledger.get_many([record.key for record in batch])
        print(*(found[record.key].reply.raw for record in batch))
assert not ledger.notices, ledger.notices
"""


def test_processes_writing_at_the_same_time_lose_nothing_and_agree(folder: Path) -> None:
    command = [sys.executable, "-c", CHILD]
    children = [
        subprocess.Popen([*command, name, str(folder)], stdout=subprocess.PIPE) for name in ("one", "two", "three")
    ]
    answers = [child.communicate(timeout=60)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert answers[0] == answers[1] == answers[2]
    records = [Record.from_line(line) for line in lines(folder)]
    assert len(records) == len({item.key for item in records}) == 60
    with Ledger(folder) as ledger:
        wanted = [Record.of({"repeat": number}, Reply("", "m")).key for number in range(60)]
        assert [item.reply.raw.encode() for item in ledger.get_many(wanted).values()] == answers[0]
