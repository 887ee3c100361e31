"""Generations: what is asked again stands beside what was there, and never in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.types import Reply


def record(number: int, generation: int = 0, raw: str = "A") -> Record:
    return Record.of({"model": "m", "repeat": number}, Reply(raw, "m"), generation)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def test_a_generation_has_its_own_records(folder: Path) -> None:
    first, again, twelfth = record(0), record(0, 1, "B"), record(0, 12, "C")
    with Ledger(folder) as ledger:
        assert ledger.newest_generation() == 0
        ledger.add([again, first, twelfth, record(1)])
        for opened in (ledger, Ledger(folder)):
            assert opened.get_many([first.key, record(1).key]) == {first.key: first, record(1).key: record(1)}
            assert opened.get_many([first.key, record(1).key], generation=1) == {first.key: again}
            assert opened.get(first.key, generation=12) == twelfth
            assert opened.get(first.key, generation=2) is None
            assert opened.newest_generation() == 12


def test_in_each_generation_the_first_writer_wins(folder: Path) -> None:
    with Ledger(folder) as one, Ledger(folder) as other:
        one.add([record(0, 1, "A"), record(0, 1, "B")])
        other.add([record(0, 1, "C"), record(0, 0, "D"), record(0, 2, "E")])
        for ledger in (one, other):
            found = [ledger.get(record(0).key, generation) for generation in range(3)]
            assert [item and item.reply.raw for item in found] == ["D", "A", "E"]


def test_the_newest_generation_of_others_is_seen(folder: Path) -> None:
    with Ledger(folder) as one, Ledger(folder) as other:
        assert one.newest_generation() == 0
        other.add([record(0, 3)])
        assert one.newest_generation() == 3
    (folder / "index" / "cache.db").write_bytes(b"junk" * 1000)
    with Ledger(folder) as rebuilt:
        assert rebuilt.newest_generation() == 3


def test_a_ledger_from_before_there_were_generations_is_read(folder: Path) -> None:
    folder.mkdir()
    written = record(0).to_line()
    assert written.startswith(b'{"key":"')
    (folder / "old.jsonl").write_bytes(written)
    with Ledger(folder) as ledger:
        assert ledger.get(record(0).key) == record(0)
        assert ledger.newest_generation() == 0
