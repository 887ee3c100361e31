"""apl-bench ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from apl_bench.cli.main import main
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.types import JSON, Reply

EVIL = "A\x1b[31m\u202e"


def record(number: int, raw: str = "A", generation: int = 0) -> Record:
    request: dict[str, JSON] = {"provider": "openai", "model": "gpt", "text": f"film {number}", "repeat": 0}
    return Record.of(request, Reply(raw, "gpt-2025", usage={"input_tokens": 10}), generation)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.add([record(0), record(1, EVIL), record(0, "B", 1)])
    return tmp_path / "ledger"


def call(command: str, folder: Path, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["ledger", command, *map(str, arguments), "--ledger", str(folder)])


def output(command: str, folder: Path, *arguments: object) -> str:
    done = call(command, folder, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def the_file(folder: Path) -> Path:
    (path,) = folder.glob("*.jsonl")
    return path


def test_stats_are_a_table(folder: Path) -> None:
    said = output("stats", folder)
    path = the_file(folder)
    assert f"3 judgments in 1 files, {path.stat().st_size} bytes" in said
    assert f"oldest file {path.name}, newest {path.name}" in said
    rows = [line.split() for line in said.splitlines()]
    assert ["provider", "model", "judgments", "not", "ok", "input_tokens"] in rows
    assert ["openai", "gpt", "3", "0", "30"] in rows
    assert ["1", "1"] in rows


def test_stats_are_json(folder: Path) -> None:
    found = json.loads(output("stats", folder, "--json"))
    assert found == {
        "judgments": 3,
        "files": [the_file(folder).name],
        "bytes": the_file(folder).stat().st_size,
        "bad_lines": 0,
        "tokens": {"input_tokens": 30},
        "generations": {"0": 2, "1": 1},
        "given": [{"provider": "openai", "model": "gpt", "judgments": 3, "not_ok": 0,
                   "tokens": {"input_tokens": 30}}],
    }  # fmt: skip


def test_stats_of_an_empty_ledger_and_of_bad_lines(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    assert "0 judgments in 0 files, 0 bytes" in output("stats", tmp_path)
    (tmp_path / "a.jsonl").write_bytes(b"junk\n")
    done = call("stats", tmp_path)
    assert "1 lines are no records; see: apl-bench ledger verify" in done.stdout
    assert "ledger: 1 lines of" in done.stderr


@pytest.mark.parametrize("command", ["stats", "verify", "rebuild"])
def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path, command: str) -> None:
    done = call(command, tmp_path / "typo")
    assert done.exit_code == 2
    assert "there is no ledger in" in done.stderr
    assert not (tmp_path / "typo").exists()


def test_why_says_where_a_hit_stands(folder: Path) -> None:
    said = output("why", folder, record(0).key)
    rows = [line.split() for line in said.splitlines()]
    assert said.startswith(f"key {record(0).key} is recorded:")
    place = len(record(0).to_line()) + len(record(1, EVIL).to_line())
    assert ["0", the_file(folder).name, "0", "gpt-2025", "ok", "A"] in rows
    assert ["1", the_file(folder).name, str(place), "gpt-2025", "ok", "B"] in rows


def test_why_prints_nothing_that_tricks_a_terminal(folder: Path) -> None:
    said = output("why", folder, record(1).key)
    assert "A[31m" in said
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_why_explains_a_miss_field_by_field(folder: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps({**record(1).request, "model": "gpt-5", "temperature": 0.5}))
    said = output("why", folder, request)
    assert f"the nearest record, {record(1).key}, differs in 2 fields:" in said
    rows = [line.split() for line in said.splitlines()]
    assert ["model", '"gpt-5"', '"gpt"'] in rows
    assert ["temperature", "0.5", "nothing"] in rows


def test_why_takes_a_line_of_a_ledger(folder: Path, tmp_path: Path) -> None:
    line = tmp_path / "line.json"
    line.write_bytes(record(0).to_line())
    assert f"key {record(0).key} is recorded" in output("why", folder, line)
    done = CliRunner().invoke(main, ["ledger", "why", "-", "--ledger", str(folder)], input=line.read_text())
    assert f"key {record(0).key} is recorded" in done.stdout


def test_why_of_a_key_alone_asks_for_the_request(folder: Path) -> None:
    assert "Give its request as a JSON file" in output("why", folder, "0" * 64)


@pytest.mark.parametrize(
    ("text", "why"),
    [("[1]", "holds no request"), ("{", "is not JSON"), ("[" * 99_999, "is not JSON"), (None, "no file")],
)
def test_why_refuses_what_is_no_request(folder: Path, tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "request.json"
    if text is not None:
        path.write_text(text)
    done = call("why", folder, path)
    assert (done.exit_code, why in done.stderr) == (2, True), done.stderr


def test_export_and_import(folder: Path, tmp_path: Path) -> None:
    said = output("export", folder, tmp_path / "packs" / "films")
    (pack,) = (tmp_path / "packs").iterdir()
    assert said == f"wrote {pack}, {pack.stat().st_size} bytes\n"
    other = tmp_path / "other"
    assert output("import", other, pack, pack) == (
        f"{pack}: 3 judgments, 3 of them new\n{pack}: 3 judgments, 0 of them new\n"
    )
    assert json.loads(output("stats", other, "--json"))["generations"] == {"0": 2, "1": 1}


def test_import_says_what_is_answered_otherwise(folder: Path, tmp_path: Path) -> None:
    output("export", folder, tmp_path / "films")
    (pack,) = tmp_path.glob("*.zst")
    with Ledger(tmp_path / "mine") as mine:
        mine.add([record(0, "mine")])
    assert "3 judgments, 2 of them new; 1 have another reply here, which was kept" in output(
        "import", tmp_path / "mine", pack
    )


@pytest.mark.parametrize("text", [record(1).key + "\n", record(1).to_line().decode()])
def test_export_of_some_keys(folder: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    output("export", folder, tmp_path / "some", "--keys", tmp_path / "keys")
    (pack,) = tmp_path.glob("*.zst")
    assert "1 judgments, 1 of them new" in output("import", tmp_path / "mine", pack)
    (tmp_path / "keys").write_text("no key\n")
    done = call("export", folder, tmp_path / "some", "--keys", tmp_path / "keys")
    assert (done.exit_code, "line 1 of" in done.stderr) == (2, True)


def test_a_bad_pack_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"SQLite format 3\x00")
    done = call("import", folder, tmp_path / "cache.db")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: nothing of ")
    assert "never read: a database can hold code" in done.stderr
    assert done.stderr.count("\n") == 1


def test_verify(folder: Path) -> None:
    assert "3 records in 1 files" in output("verify", folder)
    path = the_file(folder)
    path.write_bytes(path.read_bytes().replace(b'"raw":"A"', b'"raw":"C"', 1))
    done = call("verify", folder)
    assert done.exit_code == 1
    assert f"bad: {path.name}, byte 0: " in done.stdout
    assert done.stdout.rstrip().endswith("2 bad places")


def test_rebuild(folder: Path) -> None:
    (folder / "index" / "cache.db").write_bytes(b"junk" * 1000)
    assert call("verify", folder).exit_code == 1
    assert "the index was rebuilt" in output("rebuild", folder)
    assert "all of them whole" in output("verify", folder)
    assert len(list(folder.glob("index*"))) == 1


def test_it_is_in_the_help() -> None:
    assert "ledger " in CliRunner().invoke(main, ["--help"]).stdout
    said = CliRunner().invoke(main, ["ledger", "--help"]).stdout
    assert all(name in said for name in ("stats", "why", "export", "import", "verify", "rebuild"))
