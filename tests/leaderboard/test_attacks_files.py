"""What hostile files try: links, bombs, odd JSON, names that lead elsewhere, texts that a terminal or a page obeys."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from apl_bench.cli.main import main
from apl_bench.judgments.streams import compress
from apl_bench.leaderboard.findings import Refused
from apl_bench.leaderboard.packing.packing import SHARED, seed_file
from apl_bench.leaderboard.strict import parse
from apl_bench.leaderboard.submission import Submission
from tests.leaderboard.submitted import checked, codes, sums_again


def packed(folder: Path, name: str) -> list[dict[str, Any]]:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.OSFile(str(folder / name)), "zstd") as stream:
        return [json.loads(line) for line in stream.read().splitlines()]


def pack(folder: Path, name: str, rows: list[Any]) -> None:
    (folder / name).write_bytes(compress("".join(json.dumps(row) + "\n" for row in rows).encode(), 3))
    sums_again(folder)


def state(folder: Path, change: Callable[[dict[str, Any]], None], dumps: Callable[[Any], str] = json.dumps) -> None:
    stated = json.loads((folder / "submission.json").read_text())
    change(stated)
    (folder / "submission.json").write_text(dumps(stated))
    sums_again(folder)


@pytest.mark.parametrize(
    "name", ["run.zip", "runs/model.pt", "cache.db", ".hidden", "runs/seed-0.jsonl.zst", "a\x1b[2Jb"]
)
def test_files_that_do_not_belong(honest: Path, name: str) -> None:
    (honest / name).write_bytes(b"x")
    assert "V101" in codes(honest)


def test_folders_that_do_not_belong(honest: Path) -> None:
    (honest / "runs" / "more").mkdir()
    assert "V101" in codes(honest)


@pytest.mark.parametrize("name", ["CARD.md", "runs/seed-000.jsonl.zst", "extra"])
def test_links(honest: Path, name: str) -> None:
    (honest / name).unlink(missing_ok=True)
    (honest / name).symlink_to("/etc/passwd")
    assert "V102" in codes(honest)


def test_a_folder_that_is_a_link(honest: Path, tmp_path: Path) -> None:
    (honest / "runs").rename(tmp_path / "elsewhere")
    (honest / "runs").symlink_to(tmp_path / "elsewhere")
    assert "V102" in codes(honest)


def test_a_pipe_is_not_waited_for(honest: Path) -> None:
    (honest / "CARD.md").unlink()
    os.mkfifo(honest / "CARD.md")
    assert "V103" in codes(honest)


@pytest.mark.parametrize("name", ["CARD.md", "submission.json", SHARED])
def test_missing_files(honest: Path, name: str) -> None:
    (honest / name).unlink()
    assert "V104" in codes(honest)


def test_a_changed_byte(honest: Path) -> None:
    path = honest / seed_file(1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert codes(honest) == {"V111"}
    sums_again(honest)
    assert codes(honest) & {"V106", "V107", "V111", "V112"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"a":' + "[" * 100 + "]" * 100 + "}", "V108"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "V108"),
        ('{"id":1,"id":2}', "V109"),
        ('{"id":NaN}', "V109"),
        ('{"id":-Infinity}', "V109"),
        ('{"id":1e999}', "V109"),
        ('{"id":' + "9" * 5000 + "}", "V109"),
        ('{"id":"\\ud800"}', "V109"),
        ('{"id":', "V107"),
        ('{"id":"' + '\\"' * 400_000, "V107"),
        ("[]", "V110"),
        ('{"schema":"apl-submission/1"}', "V110"),
    ],
)
def test_odd_json(honest: Path, text: str, code: str) -> None:
    (honest / "submission.json").write_text(text)
    sums_again(honest)
    assert codes(honest) == {code}


def test_json_of_megabytes(honest: Path) -> None:
    (honest / "submission.json").write_text('{"a":"' + "x" * 2**21 + '"}')
    sums_again(honest)
    assert codes(honest) == {"V106"}


def test_no_utf8(honest: Path) -> None:
    (honest / "CARD.md").write_bytes(b"\xff\xfe")
    sums_again(honest)
    assert codes(honest) == {"V107"}


@pytest.mark.parametrize(
    "change",
    [
        lambda stated: stated.update(extra=1),
        lambda stated: stated.pop("note"),
        lambda stated: stated.update(seeds=[True]),
        lambda stated: stated.update(num_runs_tried=10**30),
        lambda stated: stated["costs"].update(seconds=-1.0),
        lambda stated: stated.update(division="golden"),
        lambda stated: stated.update(id="../../etc"),
        lambda stated: stated.update(created="soon"),
        lambda stated: stated["harness"].update(source_sha256="<script>"),
    ],
)
def test_fields_that_are_none(honest: Path, change: Callable[[dict[str, Any]], None]) -> None:
    state(honest, change)
    assert codes(honest) == {"V110"}


def test_another_folders_id(honest: Path) -> None:
    state(honest, lambda stated: stated.update(id="somebody-else"))
    assert "V115" in codes(honest)


def test_a_card_without_its_headings(honest: Path) -> None:
    (honest / "CARD.md").write_text("# Trust me\n")
    sums_again(honest)
    assert "V116" in codes(honest)


def test_a_bomb_of_zeros(honest: Path) -> None:
    (honest / seed_file(0)).write_bytes(compress(b"0" * 2**28, 3))
    sums_again(honest)
    assert "V106" in codes(honest)


def test_a_bomb_of_references(honest: Path) -> None:
    """A prompt of 1 MB, which a column of a waypoint names again and again."""
    shared = packed(honest, SHARED)
    shared[0]["prompts"][0][1] = os.urandom(2**19).hex()
    pack(honest, SHARED, shared)
    rows = packed(honest, seed_file(0))
    rows[1]["prompts"] = [0] * 10**5
    pack(honest, seed_file(0), rows)
    assert "V112" in codes(honest)


@pytest.mark.parametrize("path", ["../../../evil", "/tmp/evil", "imdb-tiny/random/../../evil", 7, None])
def test_a_run_that_leads_elsewhere(honest: Path, path: object) -> None:
    rows = packed(honest, seed_file(0))
    rows[0]["path"] = path
    pack(honest, seed_file(0), rows)
    assert codes(honest) >= {"V113"}


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "state/policy.safetensors", "steps/9999.jsonl", ".lock"])
def test_a_file_of_a_run_that_leads_elsewhere(honest: Path, name: str, tmp_path: Path) -> None:
    rows = packed(honest, seed_file(0))
    head = {key: value for key, value in rows[0].items() if key != "parts"}
    pack(honest, seed_file(0), [head, {"kind": "file", "name": name, "text": "evil\n"}])
    assert "V113" in codes(honest)
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[1].update(prompts=[10**9]),
        lambda rows: rows[1].update(prompts=["x"]),
        lambda rows: rows[1].update(policy_logp="nan"),
        lambda rows: rows[1].update(policy_logp="1p+99999"),
        lambda rows: rows[1]["policy"].update(tokens="\U0010fffd"),
        lambda rows: rows[1].update(kind="step"),
        lambda rows: rows[0]["parts"].update(oracle={"generation": -1, "replies": None}),
        lambda rows: rows[0].pop("parts"),
        lambda rows: rows[0].update(spec="{}"),
        lambda rows: rows[0].update(spec=rows[0]["spec"].replace('"budget": 8', '"budget": 8000000000000')),
        lambda rows: rows.insert(0, 7),
        lambda rows: rows.clear(),
    ],
)
def test_lines_that_are_none_of_ours(honest: Path, change: Callable[[list[Any]], None]) -> None:
    rows = packed(honest, seed_file(0))
    change(rows)
    pack(honest, seed_file(0), rows)
    assert codes(honest) & {"V104", "V107", "V110", "V111", "V112", "V113"}


def test_an_oracle_that_would_load_a_model_is_not_loaded(honest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = packed(honest, seed_file(0))
    spec = json.loads(rows[0]["spec"])
    spec["spec"]["judge"] = {"name": "hf", "model": "/tmp/evil", "score": 1, "max_length": 8, "truncation": "left",
                             "dtype": "float32", "chat": False}  # fmt: skip
    rows[0]["spec"] = json.dumps(spec)
    pack(honest, seed_file(0), rows)
    monkeypatch.setattr("apl_bench.oracles.huggingface.load", _never)
    assert "V113" in codes(honest)


def _never(*_arguments: object) -> None:
    raise AssertionError("a model was loaded")


EVIL = "\x1b[31m\x1b]0;title\x07<script>alert(1)</script>\u202e"
FIELDS: list[Callable[[dict[str, Any]], None]] = [
    lambda stated: stated.update(name=EVIL),
    lambda stated: stated.update(note=EVIL),
    lambda stated: stated.update(licence=EVIL),
    lambda stated: stated["submitter"].update(name=EVIL, contact=EVIL, affiliation=EVIL),
    lambda stated: stated.update(task=EVIL),
    lambda stated: stated.update(preset=EVIL),
    lambda stated: stated.update(changes=[EVIL]),
    lambda stated: stated["strategies"][0].update(name=EVIL, distribution=EVIL, version=EVIL),
    lambda stated: stated["strategies"][0].update(params={EVIL: EVIL}),
    lambda stated: stated["harness"].update(version=EVIL),
    lambda stated: stated["environments"][0].update(python=EVIL, torch=EVIL, device=EVIL),
    lambda stated: stated["claims"][0].update(strategy=EVIL),
    lambda stated: stated.update({EVIL: 1}),
    lambda stated: stated.update(created=EVIL),
]


@pytest.mark.parametrize("change", FIELDS)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_texts_that_a_terminal_would_obey(
    honest: Path, change: Callable[[dict[str, Any]], None], form: list[str]
) -> None:
    state(honest, change)
    (honest / "CARD.md").write_text(f"{EVIL}\n" + (honest / "CARD.md").read_text())
    sums_again(honest)
    done = CliRunner().invoke(main, ["verify", str(honest), "--workers", "1", *form])
    assert done.exit_code == 1
    assert "V114" in done.output or "V110" in done.output
    assert harmless(done.output)


def test_a_manifest_and_a_file_with_names_that_a_terminal_would_obey(honest: Path) -> None:
    (honest / EVIL.replace("/", "")).write_text("x")
    done = CliRunner().invoke(main, ["verify", str(honest), "--workers", "1"])
    assert "V101" in done.output
    assert harmless(done.output)


def test_markup_is_flagged(honest: Path) -> None:
    state(honest, lambda stated: stated.update(note="<b>we won</b>"))
    assert {one.code for one in checked(honest).flags} >= {"V409"}
    assert checked(honest).failures == []


def harmless(text: str) -> bool:
    return not any(character in text for character in ("\x1b", "\x07", "\u202e"))


def test_strict_json_reads_what_json_writes() -> None:
    value = {"a": [1, 2.5, None, True, '\u00e9\n"[{'], "b": {"c": {}}}
    assert parse(json.dumps(value).encode(), "x") == value
    with pytest.raises(Refused):
        Submission.of([], (), "")
