"""The run directory: nothing half-written, nothing believed that is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from apl_bench.records import file_name, find_runs, read_jsonl, run_path, write_atomically
from apl_bench.types import SpecError
from tests.test_spec import toy


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert path.read_text() == "old"


def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "0001.jsonl"
    path.write_text('{"kind":"step"}\n{"kind":\n')
    with pytest.raises(SpecError, match=r"0001.jsonl:2 is not JSON"):
        read_jsonl(path)


def test_text_with_line_separators_stays_one_row(tmp_path: Path) -> None:
    path = tmp_path / "0001.jsonl"
    write_atomically(path, '{"text":"a\u2028b\u0085c\x1cd"}\n'.replace("\x1c", "\\u001c"))
    assert read_jsonl(path) == [{"text": "a\u2028b\u0085c\x1cd"}]


def test_the_folder_is_named_by_what_was_run_and_cannot_leave_its_root() -> None:
    path = run_path(Path("runs"), toy("strategy.name='../../etc'", seed=7))
    assert path.parts[:2] == ("runs", "toy-toy")
    assert path.parts[2] == ".._.._etc"
    assert path.name == f"seed-007-{toy('''strategy.name='../../etc' ''', seed=7).identity[:8]}"


@pytest.mark.parametrize("text", ["..", ".", "", "/", "a/../..", "\0"])
def test_a_name_of_others_leads_nowhere_else(tmp_path: Path, text: str) -> None:
    assert (tmp_path / file_name(text)).resolve().parent == tmp_path.resolve()


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    names = {file_name("x" * length) for length in (79, 80, 81, 300)}
    assert len(names) == 4
    assert max(map(len, names)) == 80


def test_a_folder_without_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no run at or below"):
        find_runs([tmp_path])
