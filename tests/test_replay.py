"""A recorded run, kept with the tests, replays to every digit with no model; a missing judgment stops with exit code 4.

tests/golden/run was written by
    apl-bench run --strategy certainty --seeds 3 --set loop.budget=8 --set loop.labels_per_step=4 \\
        --set loop.prompts_per_step=6 --set loop.waypoints=[0,8] --set evaluation.num_prompts=8 \\
        --set evaluation.num_probe_prompts=4 --set policy.num_threads=1
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from apl_bench.judging import MissingJudgment
from apl_bench.records import Run
from apl_bench.replay import replay
from apl_bench.types import SpecError

GOLDEN = Path(__file__).parent / "golden" / "run"

PROGRAM = """
import sys
from apl_bench.cli.main import main
try:
    main(["replay", sys.argv[1]])
finally:
    heavy = {"torch", "transformers", "datasets", "openai", "anthropic"} & set(sys.modules)
    print("imported:", sorted(heavy))
"""


def replay_in_a_process(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "run"))


def test_the_recorded_run_replays_to_every_digit_without_torch(copy: Path) -> None:
    done = replay_in_a_process(copy)
    assert done.returncode == 0, done.stderr
    assert "every number the same" in done.stdout
    assert "imported: []" in done.stdout


def test_a_missing_judgment_stops_with_exit_code_4_and_is_named(copy: Path) -> None:
    path = copy / "judgments.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    gone = json.loads(lines[5])["key"]
    path.write_text("".join(lines[:5] + lines[6:]))
    done = replay_in_a_process(copy)
    assert done.returncode == 4
    assert gone in done.stderr
    with pytest.raises(MissingJudgment) as missing:
        replay(Run(copy))
    assert missing.value.key == gone


def test_an_edited_reply_is_not_believed(copy: Path) -> None:
    path = copy / "judgments.jsonl"
    path.write_text(path.read_text().replace("score_first", "score_worst", 1))
    done = replay_in_a_process(copy)
    assert done.returncode != 0
    assert "judgments.jsonl" in done.stderr


@pytest.mark.parametrize("name", ["steps/0001.jsonl", "waypoints/0000.jsonl"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(SpecError, match=f"{name} is missing or empty"):
        replay(Run(copy))


def test_an_edited_result_is_found_by_its_place(copy: Path) -> None:
    path = copy / "result.json"
    result = json.loads(path.read_text())
    result["waypoints"][1]["wins"] += 1
    path.write_text(json.dumps(result))
    assert replay(Run(copy)).differences == (
        f"result.json waypoints[1] wins: recorded {result['waypoints'][1]['wins']}, "
        f"recomputed {result['waypoints'][1]['wins'] - 1}",
    )


@pytest.mark.parametrize("field", ["verdict", "swapped", "keys"])
def test_an_edited_row_is_found_by_file_line_and_field(copy: Path, field: str) -> None:
    path = copy / "waypoints" / "0008.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    row = next(row for row in rows if row["kind"] == "comparison")
    row[field] = {"verdict": "tie", "swapped": not row["swapped"], "keys": ["0" * 64]}[field]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert any(f"0008.jsonl:2 {field}" in line for line in replay(Run(copy)).differences)
