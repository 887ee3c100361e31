"""What is wrong with a ledger is found and named, what is not is left in peace, and nothing is changed by looking."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from apl_bench.judgments.files import Location
from apl_bench.judgments.index import encode_location
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.judgments.survey import Answerer, survey
from apl_bench.judgments.verify import Verification, verify
from apl_bench.types import Reply

NUM = 700


def record(number: int, raw: str = "A", generation: int = 0) -> Record:
    return Record.of({"model": "m", "repeat": number}, Reply(raw, "m"), generation)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.add([record(number) for number in range(NUM)])
        ledger.add([record(3, "B", 1)])
    return tmp_path / "ledger"


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.jsonl")
    return path


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def look(folder: Path) -> Verification:
    """Verify, and see that nothing is changed by it."""
    before = snapshot(folder)
    found = verify(folder)
    assert snapshot(folder) == before
    return found


def sql(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "index" / "cache.db")) as connection, connection:
        connection.execute(statement, values)


def test_a_ledger_that_is_whole(folder: Path) -> None:
    size = only_file(folder).stat().st_size
    assert look(folder) == Verification(1, NUM + 1, size, bad=(), notices=())


def test_a_bad_line_is_named_by_its_place(folder: Path) -> None:
    path = only_file(folder)
    data = path.read_bytes()
    place = data.index(record(9).to_line())
    path.write_bytes(data[:place] + data[place:].replace(b'"raw":"A"', b'"raw":"B"', 1))
    found = look(folder)
    assert found.num_records == NUM
    assert found.bad[0].place == f"{path.name}, byte {place}"
    assert "changed after it was written" in found.bad[0].reason
    assert f"it says that {record(9).key} stands in" in found.bad[1].reason
    assert len(found.bad) == 2


def test_a_torn_line_is_a_notice(folder: Path) -> None:
    path = only_file(folder)
    with path.open("ab") as file:
        file.write(record(9999).to_line()[:-5])
    found = look(folder)
    assert found.bad == ()
    assert "was not finished" in found.notices[0]


def test_a_missing_index_is_a_notice_and_one_that_is_behind_is_none(folder: Path) -> None:
    (folder / "other.jsonl").write_bytes(record(9999).to_line())
    found = look(folder)
    assert (found.bad, found.notices) == ((), ())
    for path in (folder / "index").iterdir():
        path.unlink()
    (notice,) = look(folder).notices
    assert "there is no index" in notice


def test_a_second_record_of_a_key_is_no_damage(folder: Path) -> None:
    (folder / "z.jsonl").write_bytes(record(5, "other").to_line())
    Ledger(folder).close()
    assert look(folder).bad == ()


@pytest.mark.parametrize(
    ("statement", "value", "reason"),
    [
        (
            "UPDATE Cache SET value = ? WHERE key = ?",
            encode_location(Location("a.jsonl", 0, 9)),
            "it says that .* stands",
        ),
        ("UPDATE Cache SET value = ? WHERE key = ?", b"junk", "it holds a location"),
        ("UPDATE Cache SET value = ?, mode = 4 WHERE key = ?", b"junk", "not inline bytes"),
        ("UPDATE Cache SET key = ? WHERE key = ?", "0" * 64, "it lacks .*"),
        ("UPDATE Cache SET key = ? WHERE key = ?", "odd", "it lacks .*"),
        ("DELETE FROM Cache WHERE ? IS NOT NULL AND key = ?", 1, "its account of the files"),
    ],
)
def test_an_index_that_says_something_else_is_bad(folder: Path, statement: str, value: object, reason: str) -> None:
    sql(folder, statement, value, record(7).key)
    with Ledger(folder):
        pass  # opening heals what it sees, which is not everything: the files are the truth
    sql(folder, statement, value, record(7).key)
    found = look(folder)
    assert found.num_records == NUM + 1
    assert {item.place for item in found.bad} == {"index"}
    assert re.search(reason, found.bad[0].reason)


def test_an_entry_that_leads_nowhere_is_found(folder: Path) -> None:
    sql(folder, "UPDATE Settings SET value = value + 1 WHERE key = 'count'")
    sql(folder, "INSERT INTO Cache (key, raw, size, mode, value) VALUES (?, 1, 0, 1, ?)", "f" * 64, b"0 5 a.jsonl")
    sql(folder, "UPDATE Settings SET value = value - 1 WHERE key = 'count'")
    sql(folder, "UPDATE Cache SET value = replace(CAST(value AS TEXT), ' 701 ', ' 702 ') WHERE key LIKE '@file%'")
    sql(folder, "UPDATE Cache SET value = CAST(value AS BLOB)")
    found = look(folder)
    assert [item.reason for item in found.bad] == [
        f"it says that {'f' * 64} stands in a.jsonl at byte 0, where it does not"
    ]


def test_a_file_that_lost_its_end_is_bad(folder: Path) -> None:
    path = only_file(folder)
    path.write_bytes(path.read_bytes()[: -len(record(3, "B", 1).to_line())])
    assert "which has" in look(folder).bad[0].reason


@pytest.mark.parametrize("junk", [b"junk" * 1000, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_an_index_that_is_no_database_is_bad(folder: Path, junk: bytes) -> None:
    for path in (folder / "index").iterdir():
        path.unlink()
    (folder / "index" / "cache.db").write_bytes(junk)
    (bad,) = look(folder).bad
    assert (bad.place, "its database cannot be read" in bad.reason) == ("index", True)


def test_a_link_is_bad(folder: Path, tmp_path: Path) -> None:
    (folder / "link.jsonl").symlink_to(only_file(folder))
    assert [item.place for item in look(folder).bad] == ["link.jsonl"]


def test_a_rebuild_settles_what_is_wrong_with_an_index(folder: Path) -> None:
    sql(folder, "UPDATE Cache SET key = ? WHERE key = ?", "0" * 64, record(7).key)
    (folder / "index.20200101T000000Z-01234567").mkdir()
    with Ledger(folder) as ledger:
        ledger.rebuild()
        assert ledger.get(record(7).key) == record(7)
    assert look(folder).bad == ()
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["index"]


def test_a_survey_counts_by_who_answered(tmp_path: Path) -> None:
    def given(provider: str | None, number: int, reply: Reply, generation: int = 0) -> Record:
        named = {} if provider is None else {"provider": provider, "model": "m1"}
        return Record.of({**named, "repeat": number}, reply, generation)

    with Ledger(tmp_path / "ledger") as ledger:
        ledger.add([
            given("openai", 0, Reply("A", "m1-2025", usage={"input_tokens": 10, "output_tokens": 2})),
            given("openai", 0, Reply("B", "m1-2025", usage={"input_tokens": 10, "output_tokens": 3}), 1),
            given("openai", 1, Reply("", "m1-2025", "refused", usage={"input_tokens": 4})),
            given(None, 2, Reply("A", "m")),
        ])  # fmt: skip
    (tmp_path / "ledger" / "a.jsonl").write_bytes(b"junk\n{")
    found = survey(tmp_path / "ledger")
    assert (found.num_judgments, found.num_bad_lines, len(found.files)) == (4, 1, 2)
    assert found.num_bytes == sum(path.stat().st_size for path in (tmp_path / "ledger").glob("*.jsonl"))
    assert found.generations == {0: 3, 1: 1}
    assert found.tokens == {"input_tokens": 24, "output_tokens": 5}
    openai = found.given[Answerer("openai", "m1")]
    assert (openai.num_judgments, openai.num_not_ok, openai.tokens["input_tokens"]) == (3, 1, 24)
    assert found.given[Answerer(None, None)].num_judgments == 1
