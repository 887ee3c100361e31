"""An honest submission comes out as claimed, here and from another machine; and its runs come back to the byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from apl_bench.cli.main import main
from apl_bench.comparison import compare
from apl_bench.comparison_json import comparison_json
from apl_bench.leaderboard.building import build
from apl_bench.leaderboard.packing.packing import path_of
from apl_bench.leaderboard.verifying import Options, verify
from apl_bench.records import Run, find_runs
from apl_bench.replay import replay
from tests.leaderboard.submitted import STATEMENT, Forger, checked

PROGRAM = """
import sys
from apl_bench.cli.main import main
if __name__ == "__main__":
    try:
        main(["verify", *sys.argv[1:]])
    finally:
        heavy = {"torch", "transformers", "datasets", "openai", "anthropic"} & set(sys.modules)
        print("imported:", sorted(heavy))
"""


def test_an_honest_submission_passes_with_flags_for_what_it_is(honest: Path) -> None:
    found = checked(honest)
    assert found.failures == []
    assert found.num_runs == 8
    assert found.num_judgments == 8 * (8 + 3 * 12)
    assert {one.code for one in found.flags} == {"V408"}


def test_runs_come_back_to_the_byte_and_can_be_replayed_and_compared(made: Path, honest: Path, tmp_path: Path) -> None:
    assert verify(honest, Options(1), tmp_path / "unpacked").passed
    runs = find_runs([tmp_path / "unpacked"])
    for run in runs:
        original = made / "runs" / path_of(run)
        files = {path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file()}
        assert {name for name in files if (original / name).read_bytes() != (run.path / name).read_bytes()} == set()
        assert {path.relative_to(original) for path in original.rglob("*.json*")} == files
    assert replay(runs[0]).differences == ()
    assert [comparison_json(one) for one in compare(runs)] == json.loads((honest / "results.json").read_text())


def test_equal_runs_give_equal_bytes(made: Path, honest: Path, tmp_path: Path) -> None:
    again = build(find_runs([made / "runs"]), STATEMENT, tmp_path / "again")
    for path in honest.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(honest)).read_bytes(), path


def test_an_honest_submission_of_another_machine_passes(forger: Forger) -> None:
    for run in find_runs([forger.runs]):
        path = run.path / "spec.json"
        manifest = json.loads(path.read_text())
        manifest["model"] |= {"torch": "9.1.0+cu200", "transformers": "7.0", "device": "cuda", "num_threads": 48}
        manifest["versions"] |= {"python": "3.14.1", "numpy": "3.0.0", "machine": "aarch64"}
        path.write_text(json.dumps(manifest, indent=2) + "\n")
    found = checked(forger.submit())
    assert found.failures == []
    assert {one.code for one in found.flags} == {"V408"}


def test_the_command_verifies_in_processes_without_torch_and_says_what_it_cannot_prove(
    forger: Forger, tmp_path: Path
) -> None:
    folder = forger.submit(division="open")  # the tiny preset does not ship for other processes
    text = (folder / "submission.json").read_text()
    command = [sys.executable, "-c", PROGRAM, str(folder), "--json"]
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})
    assert "imported: []" in done.stdout, done.stderr
    (found,) = json.loads(done.stdout.partition("imported:")[0])
    # every setting is a change where no preset of the name ships, which is all that this process finds
    assert {one["place"].partition(" changes")[0] for one in found["failures"]} <= {"submission.json"}, found
    assert found["num_runs"] == 8
    assert "cannot prove" in found["cannot_prove"]
    assert "division" in text


def test_the_command_says_code_place_sentence_and_remedy_and_fails(honest: Path) -> None:
    (honest / "notes.pkl").write_bytes(b"cos\nsystem\n(S'echo'\ntR.")
    done = CliRunner().invoke(main, ["verify", str(honest), "--workers", "1"])
    assert done.exit_code == 1
    for part in ("V101", "notes.pkl", "no file of this name belongs here", "-> remove it"):
        assert part in done.output
    passed = CliRunner().invoke(main, ["verify", str(honest.parent / "nothing")])
    assert passed.exit_code == 2


def test_submit_and_verify_from_the_command_line(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["submit", str(made / "runs"), "--name", "Two <words>", "--submitter", "A", "--out", str(out)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "8 runs in" in done.output
    passed = CliRunner().invoke(main, ["verify", str(out / "two-words"), "--workers", "1"])
    assert passed.exit_code == 0, passed.output
    assert "everything comes out as claimed" in passed.output
    assert CliRunner().invoke(main, command).exit_code == 2  # it is there already


def test_it_is_held_against_the_folder_of_submissions_and_nothing_else(honest: Path, tmp_path: Path) -> None:
    command = ["verify", str(honest), "--workers", "1", "--against"]
    assert CliRunner().invoke(main, [*command, str(honest.parent)]).exit_code == 0
    done = CliRunner().invoke(main, [*command, str(honest)])
    assert done.exit_code == 2
    assert f"is a submission; expected the folder in which submissions stand, which here is {tmp_path}" in done.output
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(main, [*command, str(tmp_path / "empty")])
    assert done.exit_code == 2
    assert "holds no submission" in done.output


def test_a_resumed_step_is_told_of_twice_and_passes(forger: Forger) -> None:
    events = forger.rows("events.jsonl")
    twice = [event for event in events for _ in range(2 if event["event"] == "acquired" else 1)]
    forger.write("events.jsonl", twice)
    assert checked(forger.submit()).failures == []


def test_runs_are_read_as_runs(made: Path) -> None:
    assert all(isinstance(run, Run) and run.complete for run in find_runs([made / "runs"]))
