"""Packs: what one ledger writes another one reads, and nothing that anybody changed, cut, or made up."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import sqlite3
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from apl_bench.judgments.files import LedgerError
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.packs import LIMITS, Imported, Limits
from apl_bench.judgments.record import MAX_LINE_BYTES, Record
from apl_bench.types import Reply


def record(number: int, raw: str = "A", generation: int = 0) -> Record:
    return Record.of({"model": "m", "texts": ["a \N{FILM FRAMES}", "b"], "repeat": number}, Reply(raw, "m"), generation)


RECORDS = [*(record(number) for number in range(1200)), record(3, "B", 1), record(3, "C", 2), record(7, "D", 10)]


def ledger_of(folder: Path, records: Sequence[Record]) -> Ledger:
    ledger = Ledger(folder)
    ledger.add(records)
    return ledger


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    with ledger_of(tmp_path / "source", RECORDS) as ledger:
        return ledger.export(tmp_path / "packs" / "grid")


def content(pack: Path) -> bytes:
    with pa.CompressedInputStream(str(pack), "zstd") as stream:
        return bytes(stream.read())


def forged(folder: Path, lines: bytes, name: str | None = None) -> Path:
    """A pack of these lines, named as `export` would have named it."""
    path = folder / (name or f"grid-{hashlib.sha256(lines).hexdigest()[:16]}.jsonl.zst")
    with pa.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(lines)
    return path


def in_order(records: Sequence[Record]) -> bytes:
    return b"".join(item.to_line() for item in sorted(records, key=lambda item: (item.key, item.generation)))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def assert_refused(tmp_path: Path, path: Path, why: str, limits: Limits = LIMITS) -> None:
    """It is not imported, the ledger is byte by byte what it was, and goes on working."""
    with ledger_of(Path(tempfile.mkdtemp(dir=tmp_path)), [record(5000)]) as ledger:
        before = snapshot(ledger.folder)
        with pytest.raises(LedgerError, match=why):
            ledger.import_pack(path, limits)
        assert snapshot(ledger.folder) == before
        ledger.add([record(5001)])
        assert list(ledger.records()) == [record(5000), record(5001)]


def test_a_pack_holds_everything_in_order_under_the_hash_of_it(pack: Path) -> None:
    lines = content(pack)
    assert lines == in_order(RECORDS)
    assert pack.name == f"grid-{hashlib.sha256(lines).hexdigest()[:16]}.jsonl.zst"
    assert [path.name for path in pack.parent.iterdir()] == [pack.name]
    assert pack.read_bytes()[:4] == bytes.fromhex("28b52ffd")  # zstd's magic number, RFC 8878


def test_the_same_records_give_the_same_pack(pack: Path, tmp_path: Path) -> None:
    shuffled = random.Random(0).sample(RECORDS, len(RECORDS))
    with ledger_of(tmp_path / "other", shuffled[:600]) as ledger:
        ledger.add(shuffled[600:])
        again = ledger.export(tmp_path / "other-packs" / "grid.jsonl.zst")
    assert again.name == pack.name
    assert again.read_bytes() == pack.read_bytes()


def test_what_was_exported_is_imported(pack: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "mine") as ledger:
        assert ledger.import_pack(pack) == Imported(len(RECORDS), len(RECORDS), 0)
        assert ledger.import_pack(pack) == Imported(len(RECORDS), 0, 0)
        for generation in (0, 1, 2, 10):
            expected = {item.key: item for item in RECORDS if item.generation == generation}
            assert ledger.get_many(list(expected), generation) == expected
        assert len(list(ledger.folder.glob("*.jsonl"))) == 1
        assert ledger.export(tmp_path / "back").name.split("-")[-1] == pack.name.split("-")[-1]
        assert ledger.notices == []
    with Ledger(tmp_path / "mine") as again:
        assert again.get(RECORDS[5].key) == RECORDS[5]
        assert again.notices == []


def test_what_is_known_is_kept_and_what_is_answered_otherwise_is_counted(pack: Path, tmp_path: Path) -> None:
    mine = [record(0), record(1, "mine"), record(9999)]
    with ledger_of(tmp_path / "mine", mine) as ledger:
        assert ledger.import_pack(pack) == Imported(len(RECORDS), len(RECORDS) - 2, 1)
        assert ledger.get(record(1).key) == record(1, "mine")
        assert ledger.get(record(9999).key) == record(9999)
        assert ledger.get(record(2).key) == record(2)


def test_some_keys_are_exported_in_all_their_generations(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "source", RECORDS) as ledger:
        some = ledger.export(tmp_path / "some", [record(3).key, record(0).key, record(3).key])
        assert content(some) == in_order([record(0), record(3), record(3, "B", 1), record(3, "C", 2)])
        with pytest.raises(LedgerError, match=rf"1 of the keys are not in the ledger .*{'0' * 64}"):
            ledger.export(tmp_path / "some", [record(3).key, "0" * 64])
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [some.name]


def test_an_empty_ledger_and_an_odd_name_are_not_exported(tmp_path: Path) -> None:
    with Ledger(tmp_path / "empty") as ledger:
        with pytest.raises(LedgerError, match="no records to export"):
            ledger.export(tmp_path / "pack")
        with pytest.raises(LedgerError, match="cannot be called"):
            ledger.export(tmp_path / "a\x1b[31m")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_wrong_index_does_not_make_a_wrong_pack(pack: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "source") as ledger:
        connection = sqlite3.connect(tmp_path / "source" / "index" / "cache.db")
        rows = connection.execute("SELECT key, value FROM Cache WHERE key NOT LIKE '@%' LIMIT 2").fetchall()
        connection.execute("UPDATE Cache SET value = ? WHERE key = ?", (rows[0][1], rows[1][0]))
        connection.commit()
        connection.close()
        assert ledger.export(tmp_path / "again").name.split("-")[-1] == pack.name.split("-")[-1]
        assert len(ledger.notices) == 1


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcDEF123456789012345678",
        "sk-ant-api03-abcdefghijklmnop1234",
        "Authorization: Bearer abcdef0123456789.token",
        "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
def test_what_looks_like_an_api_key_is_not_exported_and_not_repeated(secret: str, tmp_path: Path) -> None:
    leaky = record(5, f"the key is {secret}, ok")
    with ledger_of(tmp_path / "source", [record(0), leaky]) as ledger:
        (name,) = (path.name for path in ledger.folder.glob("*.jsonl"))
        with pytest.raises(LedgerError) as failure:
            ledger.export(tmp_path / "pack")
        assert f"{name}, byte {len(record(0).to_line())} (key {leaky.key})" in str(failure.value)
        assert secret not in str(failure.value)
        assert [path.name for path in tmp_path.iterdir()] == ["source"]
        ledger.export(tmp_path / "pack", [record(0).key])


@pytest.mark.parametrize(
    "harmless",
    [
        "sk-",
        "a risk-taking-and-never-boring-film",
        "desk-2024-abcdefghijklmnopqrst",
        "the bearer of bad news",
        "sk-oriented-storytelling-without-numbers",
    ],
)
def test_what_only_resembles_an_api_key_is_exported(harmless: str, tmp_path: Path) -> None:
    with ledger_of(tmp_path / "source", [record(0, harmless)]) as ledger:
        assert ledger.export(tmp_path / "pack").exists()


def test_a_plain_file_of_lines_is_imported_in_any_order_and_with_repetitions(tmp_path: Path) -> None:
    path = tmp_path / "judgments.jsonl"
    path.write_bytes(b"".join(item.to_line() for item in [record(2), record(0, "first"), record(0, "again")]))
    with Ledger(tmp_path / "mine") as ledger:
        ledger.import_pack(path)
        assert ledger.get(record(0).key) == record(0, "first")
        assert ledger.get(record(2).key) == record(2)
    with Ledger(tmp_path / "mine") as again:
        assert again.get(record(0).key) == record(0, "first")


def test_no_byte_of_a_pack_can_change(pack: Path, tmp_path: Path) -> None:
    rng, whole = random.Random(0), pack.read_bytes()
    with Ledger(tmp_path / "mine") as ledger:
        for place in sorted(rng.sample(range(len(whole)), 60)):
            pack.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :])
            if content_or_none(pack) == in_order(RECORDS):
                continue  # a bit of the frame that means nothing: the pack is what it was
            with pytest.raises(LedgerError, match=r"nothing of .* was imported"):
                ledger.import_pack(pack)
            assert list(ledger.folder.glob("*.jsonl")) == list(ledger.folder.glob(".import*")) == []


def content_or_none(pack: Path) -> bytes | None:
    try:
        return content(pack)
    except OSError:
        return None


@pytest.mark.parametrize("cut", [1, 3, 100, 5000])
def test_a_cut_pack_is_refused(pack: Path, tmp_path: Path, cut: int) -> None:
    pack.write_bytes(pack.read_bytes()[:-cut])
    assert_refused(tmp_path, pack, "nothing of .* was imported")


def test_a_pack_cut_between_two_lines_is_refused(pack: Path, tmp_path: Path) -> None:
    short = forged(tmp_path, in_order(RECORDS[:-1]), pack.name)
    assert_refused(tmp_path, short, "it was changed or cut, or the file was renamed")


@pytest.mark.parametrize("name", ["grid.jsonl.zst", "grid-0123456789abcdef.jsonl.zst", "-.jsonl.zst"])
def test_a_renamed_pack_is_refused(pack: Path, tmp_path: Path, name: str) -> None:
    assert_refused(tmp_path, pack.rename(tmp_path / name), f"{hashlib.sha256(in_order(RECORDS)).hexdigest()[:16]}")


def other_key(line: bytes) -> bytes:
    """The line of another request under this line's key, sealed as it should be."""
    key, seal = line[8:72], b',"sha256":"'
    body = record(77).to_line().replace(record(77).key.encode(), key).split(seal)[0]
    return body + seal + hashlib.sha256(body + b"}").hexdigest().encode() + b'"}\n'


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda line: line.replace(b'"raw":"A"', b'"raw":"B"'), "line 2: .*changed after it was written"),
        (other_key, "line 2: .*is not that of its request"),
        (lambda line: line.replace(b'"reply"', b' "reply"'), "line 2: .*canonical form"),
        (lambda line: b"[" * 100_000 + b"\n", "line 2: it is not JSON"),
        (
            lambda line: random.Random(0).randbytes(MAX_LINE_BYTES).replace(b"\n", b"").hex().encode() + b"\n",
            f"it has a line of more than {MAX_LINE_BYTES} bytes",
        ),
        (lambda line: b"\n" + line, "line 2: it is not JSON"),
        (lambda line: line + line, "line 3 is not in the order"),
        (lambda line: pickle.dumps(line) + b"\n", "line 2: it is not JSON"),
    ],
)
def test_a_forged_line_is_refused_with_its_place_though_the_name_is_right(change, why, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first, second, third = in_order([record(0), record(1), record(2)]).splitlines(keepends=True)
    assert_refused(tmp_path, forged(tmp_path, first + change(second) + third), why)


def test_lines_out_of_order_or_without_end_are_refused(tmp_path: Path) -> None:
    first, second = in_order([record(0), record(1)]).splitlines(keepends=True)
    assert_refused(tmp_path, forged(tmp_path, second + first), "line 2 is not in the order")
    assert_refused(tmp_path, forged(tmp_path, first + second[:-1]), "its last line has no end")
    assert_refused(tmp_path, forged(tmp_path, b""), "it has no records")


def test_a_good_start_of_a_bad_pack_is_not_kept(tmp_path: Path) -> None:
    lines = in_order([record(number) for number in range(2000)])
    assert_refused(tmp_path, forged(tmp_path, lines + b"junk\n"), "line 2001: it is not JSON")


def test_a_bomb_is_stopped_early(tmp_path: Path) -> None:
    bomb = forged(tmp_path, b"\n" * 2**26)
    assert bomb.stat().st_size < 2**16
    assert_refused(tmp_path, bomb, "line 1: it is not JSON")
    long_line = forged(tmp_path, b"x" * 2**26)
    assert_refused(tmp_path, long_line, r"line of more than|become more than")


@pytest.mark.parametrize(
    ("name", "most", "why"),
    [
        ("num_packed_bytes", 100, "expected at most 100"),
        ("num_bytes", 100_000, "become more than 100000"),
        ("num_records", 1000, "more than 1000 records"),
    ],
)
def test_each_limit_holds(pack: Path, tmp_path: Path, name: str, most: int, why: str) -> None:
    assert_refused(tmp_path, pack, why, replace(LIMITS, **{name: most}))


def test_the_ratio_is_limited(tmp_path: Path) -> None:
    lines = in_order([record(number, "x" * 20_000) for number in range(200)])
    path = forged(tmp_path, lines)
    assert len(lines) > 60 * path.stat().st_size
    assert_refused(tmp_path, path, "at most 50 times as many", replace(LIMITS, ratio=50))


@pytest.mark.parametrize("suffix", [".db", ".sqlite", ".pickle", ".pkl", ".zip", ".tar", ".gz", ".tgz", ".DB"])
def test_files_that_can_hold_code_are_never_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cache{suffix}"
    path.write_bytes(record(0).to_line())
    assert_refused(tmp_path, path, f"{suffix} files are never read")


def test_only_plain_files_are_read(pack: Path, tmp_path: Path) -> None:
    link = tmp_path / pack.name
    link.symlink_to(pack)
    assert_refused(tmp_path, link, "it is a link")
    fifo = tmp_path / "fifo.jsonl"
    os.mkfifo(fifo)
    assert_refused(tmp_path, fifo, "it is no plain file")
    (tmp_path / "folder.jsonl").mkdir()
    assert_refused(tmp_path, tmp_path / "folder.jsonl", "no plain file")
    assert_refused(tmp_path, tmp_path / "missing.jsonl", "cannot read .*No such file")
    assert_refused(tmp_path, tmp_path / "notes.txt", r"expected a file that ends in \.jsonl\.zst or \.jsonl")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
def test_a_pickle_or_a_database_under_our_name_is_not_run(tmp_path: Path, suffix: str) -> None:
    for junk in (pickle.dumps({"a": 1}), b"SQLite format 3\x00" + bytes(5000), b"PK\x03\x04" + bytes(500)):
        path = tmp_path / f"grid-0123456789abcdef{suffix}"
        path.write_bytes(junk)
        assert_refused(tmp_path, path, "nothing of .* was imported")


def test_what_a_killed_import_left_is_removed(pack: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "mine") as ledger:
        (ledger.folder / ".import-0123456789abcdef.tmp").write_bytes(record(0).to_line())
        assert list(ledger.records()) == []
        ledger.import_pack(pack)
        assert list(ledger.folder.glob(".import*")) == []
