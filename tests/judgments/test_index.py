"""The index is never believed: what is planted in it is not run, not opened, not taken for an answer."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest

from apl_bench.judgments.files import LedgerError, Location
from apl_bench.judgments.index import SETTINGS, Entry, Index, IndexCorruptError, InlineDisk, Progress, encode_location
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.types import Reply

RECORDS = [Record.of({"model": "m", "repeat": number}, Reply(f"reply {number}", "m")) for number in range(3)]
KEY = RECORDS[1].key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.add(RECORDS)
    return tmp_path / "ledger"


def sql(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "index" / "cache.db")) as connection, connection:
        connection.execute(statement, values)


def assert_rebuilt(folder: Path, why: str) -> None:
    """All records are found, one notice says why the index was rebuilt, and the old one stands aside."""
    with Ledger(folder) as ledger:
        assert [ledger.get(record.key) for record in RECORDS] == RECORDS
        assert ledger.get("0" * 64) is None
    assert len(ledger.notices) == 1, ledger.notices
    assert why in ledger.notices[0]
    assert len([path for path in folder.iterdir() if path.name.startswith("index.")]) == 1
    with Ledger(folder) as again:
        assert again.notices == []


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.mkdir, (self.marker,)


def test_a_planted_pickle_is_not_run(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "exploded"
    sql(folder, "UPDATE Cache SET mode = 4, value = ? WHERE key = ?", pickle.dumps(Bomb(marker)), KEY)
    assert_rebuilt(folder, "not inline bytes")
    assert not marker.exists()


def test_the_planted_pickle_would_run_in_a_plain_cache(tmp_path: Path) -> None:
    marker = tmp_path / "exploded"
    with diskcache.Cache(str(tmp_path / "plain")) as cache:
        cache[KEY] = Bomb(marker)
        cache.get(KEY)
    assert marker.exists()


def test_a_planted_pickled_key_is_not_run(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "exploded"
    sql(folder, "UPDATE Cache SET raw = 0, key = ? WHERE key = ?", pickle.dumps(Bomb(marker)), KEY)
    with Ledger(folder) as ledger:
        ledger.get_many([KEY])
    assert not marker.exists()


@pytest.mark.parametrize("mode", [2, 3, 4])
def test_a_planted_file_name_is_not_opened(folder: Path, tmp_path: Path, mode: int) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(encode_location(Location("a.jsonl", 0, 9)))
    sql(folder, "UPDATE Cache SET mode = ?, filename = ?, value = NULL WHERE key = ?", mode, str(secret), KEY)
    assert_rebuilt(folder, "not inline bytes")


def test_a_planted_file_name_is_not_removed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch()
    sql(folder, "UPDATE Cache SET filename = ?", str(secret))
    with diskcache.Cache(str(folder / "index"), disk=InlineDisk, **SETTINGS) as cache:
        with pytest.raises(IndexCorruptError, match="removed"):
            cache.set(KEY, b"value")
        with pytest.raises(IndexCorruptError, match="removed"):
            cache.delete(RECORDS[0].key)
    assert secret.exists()
    assert_rebuilt(folder, "not inline bytes")


@pytest.mark.parametrize(
    "location",
    [
        b"0 100 ../../../../etc/passwd",
        b"0 100 /etc/passwd.jsonl",
        b"-1 100 a.jsonl",
        b"0 99999999 a.jsonl",
        b"0 100 missing.jsonl",
        b"",
        b"\xff",
        "0 100 a.jsonl",
        None,
        7,
    ],
)
def test_a_planted_location_is_not_believed(folder: Path, location: object) -> None:
    sql(folder, "UPDATE Cache SET value = ? WHERE key = ?", location, KEY)
    with Ledger(folder) as ledger:
        assert ledger.get(KEY) == RECORDS[1]
    assert len(ledger.notices) == 1


def test_a_record_outside_the_folder_is_not_read(folder: Path, tmp_path: Path) -> None:
    forged = Record.of(RECORDS[1].request, Reply("forged", "m")).to_line()
    (tmp_path / "outside.jsonl").write_bytes(forged)
    (folder / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    for name in ("../outside.jsonl", str(tmp_path / "outside.jsonl"), "link.jsonl"):
        sql(folder, "UPDATE Cache SET value = ? WHERE key = ?", b"0 %d %b" % (len(forged) - 1, name.encode()), KEY)
        with Ledger(folder) as ledger:
            assert ledger.get(KEY) == RECORDS[1]


def test_the_location_of_another_record_is_not_believed(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "index" / "cache.db")) as connection:
        (value,) = connection.execute("SELECT value FROM Cache WHERE key = ?", (RECORDS[2].key,)).fetchone()
    sql(folder, "UPDATE Cache SET value = ? WHERE key = ?", value, KEY)
    assert_rebuilt(folder, "the record of another key")


def test_an_offset_inside_a_record_is_not_believed(folder: Path) -> None:
    name = next(folder.glob("*.jsonl")).name
    sql(folder, "UPDATE Cache SET value = ? WHERE key = ?", encode_location(Location(name, 5, 300)), KEY)
    assert_rebuilt(folder, "no record where it says")


def test_a_row_that_is_gone_is_missed(folder: Path) -> None:
    sql(folder, "DELETE FROM Cache WHERE key = ?", KEY)
    assert_rebuilt(folder, "its account of the files")


@pytest.mark.parametrize("junk", [b"", b"not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_corrupt_database_is_moved_aside_and_rebuilt(folder: Path, junk: bytes) -> None:
    for path in (folder / "index").iterdir():
        path.unlink()
    (folder / "index" / "cache.db").write_bytes(junk)
    with Ledger(folder) as ledger:
        assert [ledger.get(record.key) for record in RECORDS] == RECORDS
    # An empty database is a new one; only damage is worth a sentence.
    assert len(ledger.notices) == (1 if junk else 0)


def test_a_database_damaged_while_open_is_rebuilt(folder: Path) -> None:
    ledger = Ledger(folder)
    sql(folder, "DROP TABLE Cache")
    assert [ledger.get(record.key) for record in RECORDS] == RECORDS
    assert len(ledger.notices) == 1
    ledger.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("sqlite_mmap_size", "0; ATTACH 'x' AS y"), ("disk_put", 1), ("_disk", 1), ("cull_limit", 10), ("size_limit", 1)],
)
def test_settings_of_others_are_not_obeyed(folder: Path, name: str, value: object) -> None:
    sql(folder, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", name, value)
    assert_rebuilt(folder, "settings of another program")


def test_an_index_of_another_schema_is_rebuilt(folder: Path) -> None:
    sql(folder, "UPDATE Cache SET value = ? WHERE key = '@index'", b"apl-bench-index/1 location")
    assert_rebuilt(folder, "apl-bench-index/1")


def test_nothing_is_ever_evicted(tmp_path: Path) -> None:
    assert SETTINGS["eviction_policy"] == "none"
    assert SETTINGS["cull_limit"] == 0
    index = Index(tmp_path / "index")
    location = Location("a.jsonl", 0, 2)
    entries = [Entry(f"{number}" * 50_000, 0) for number in range(100)]
    index.extend("a.jsonl", [(entry, location) for entry in entries], 200)
    index.check(["a.jsonl"])
    assert index.find(entries) == dict.fromkeys(entries, location)
    assert [path.name for path in (tmp_path / "index").iterdir() if path.is_dir()] == []


def test_the_first_entry_of_a_key_wins(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    first, again = Entry(KEY, 0), Entry(KEY, 1)
    index.extend("b.jsonl", [(first, Location("b.jsonl", 5, 6)), (first, Location("b.jsonl", 1, 2))], 12)
    index.extend("a.jsonl", [(first, Location("a.jsonl", 3, 4)), (again, Location("a.jsonl", 8, 4))], 8)
    assert index.find([first, again]) == {first: Location("b.jsonl", 5, 6), again: Location("a.jsonl", 8, 4)}
    assert index.progress(["a.jsonl", "b.jsonl"]) == {"a.jsonl": Progress(8, 1, 1), "b.jsonl": Progress(12, 1, 0)}
    index.check(["a.jsonl", "b.jsonl"])


def test_what_fails_half_way_is_undone(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")

    def interrupted() -> None:
        with index._transaction() as connection:
            connection.execute("DELETE FROM Cache")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    index.check([])
    index.extend("a.jsonl", [(Entry(KEY, 0), Location("a.jsonl", 0, 9))], 10)
    index.check(["a.jsonl"])


def test_entries_come_in_the_order_of_key_and_generation(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    keys = [f"{number:064x}" for number in range(700)]
    entries = [Entry(key, generation) for key in keys for generation in (0, 2, 10)]
    place = Location("a.jsonl", 0, 9)
    index.extend("a.jsonl", [(entry, place) for entry in reversed(entries)], 99)
    assert [entry for entry, _ in index.entries()] == entries
    assert [entry for entry, _ in index.entries(keys[5], keys[7])] == entries[15:21]


def test_only_its_owner_can_enter(folder: Path) -> None:
    assert (folder / "index").stat().st_mode & 0o777 == 0o700
    (folder / "index").chmod(0o755)
    Ledger(folder).close()
    assert (folder / "index").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("key", [1, 1.0, b"key", ("a", 1), None])
def test_only_text_keys_are_put(key: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected str"):
        InlineDisk(str(tmp_path)).put(key)


@pytest.mark.parametrize("value", [1, "text", None, bytearray(b"x"), {"a": 1}])
def test_only_bytes_are_stored(value: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected bytes"):
        InlineDisk(str(tmp_path)).store(value, False)


def test_a_large_value_stays_inline(tmp_path: Path) -> None:
    assert InlineDisk(str(tmp_path)).store(b"x" * 10**6, False)[2:] == (None, b"x" * 10**6)
    assert list(tmp_path.iterdir()) == []


class FullDatabase:
    """A cache whose disk is full, locked, or broken: every statement fails with the code it is given."""

    def __init__(self, code: int) -> None:
        self.code = code
        self._con = self
        self.in_transaction = False

    def execute(self, statement: str, values: object = ()) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = self.code
        raise error


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR_WRITE])
def test_a_full_disk_is_not_taken_for_a_corrupt_index(tmp_path: Path, code: int) -> None:
    index = Index(tmp_path / "index")
    cache, index._cache = index._cache, FullDatabase(code)
    with pytest.raises(LedgerError, match=r"disk is full.*Free some space"):
        index.find([Entry(KEY, 0)])
    with pytest.raises(LedgerError, match=r"disk is full.*Free some space"):
        index.extend("a.jsonl", [], 1)
    index._cache = FullDatabase(sqlite3.SQLITE_CORRUPT)
    with pytest.raises(IndexCorruptError):
        index.find([Entry(KEY, 0)])
    cache.close()


def test_a_database_that_is_full_does_not_hang_and_keeps_what_it_had(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    entries = [Entry(f"{number:064x}", 0) for number in range(3000)]
    index.extend("a.jsonl", [(entries[0], Location("a.jsonl", 0, 9))], 10)
    (size,) = index._cache._con.execute("PRAGMA page_count").fetchone()
    index._cache._con.execute(f"PRAGMA max_page_count = {size}")  # SQLite's own way to say: the disk is full
    with pytest.raises(LedgerError, match=r"full.*the ledger itself is untouched"):
        index.extend("b.jsonl", [(entry, Location("b.jsonl", 0, 9)) for entry in entries], 10)
    assert list(index.find(entries)) == entries[:1]
    assert index.progress(["b.jsonl"])["b.jsonl"] == Progress()
    index.check(["a.jsonl", "b.jsonl"])


def test_a_folder_whose_name_would_be_expanded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE", "/elsewhere")
    with pytest.raises(LedgerError, match=r"without '\$'"):
        Ledger(tmp_path / "$ELSEWHERE")
