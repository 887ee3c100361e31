"""What `apl-bench sweep` says: how the grid stands, what happens, and in its exit code how it ended."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from apl_bench.cli.main import main
from apl_bench.cli.sweep import conclusion, exit_code
from apl_bench.cli.sweep_progress import Board, Rates, dry_run, duration, marks
from apl_bench.sweep.cells import Cell
from apl_bench.sweep.claims import claim
from apl_bench.sweep.places import VISIBLE, environments, visible_gpus
from apl_bench.sweep.schedule import State
from apl_bench.sweep.worker import End, Outcome
from tests.sweep.tiny import OPTIONS, SETTINGS, cell


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["sweep", *arguments])


def states(tmp_path: Path, *ends: End | None) -> list[State]:
    found = []
    for seed, end in enumerate(ends):
        last = None if end is None else Outcome(end, f"sentence {seed}", 60.0)
        found.append(State(cell(tmp_path, "random", seed), last=last, ended=end is not None))
    return found


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ((End.DONE, End.DONE), 0),
        ((End.DONE, End.AWAITING), 3),
        ((End.AWAITING, End.FAILED), 1),
        ((End.DONE, End.CAPPED), 1),
        ((End.DIED,), 1),
    ],
)
def test_the_exit_code_says_how_it_ended(tmp_path: Path, ends: tuple[End, ...], code: int) -> None:
    assert exit_code(states(tmp_path, *ends)) == code


def test_at_the_end_it_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    done, failed = states(tmp_path, End.DONE, End.FAILED)
    failed.last = Outcome(End.FAILED, "no \x1b[31mmodel", trace="Traceback\n  here")
    lines = list(conclusion([done, failed]))
    assert lines == [
        "1 of 2 cells are complete",
        "failed: imdb-lite random, seed 1: no [31mmodel",
        "Traceback\n  here",
        "The same command goes on with what is missing.",
    ]
    assert list(conclusion([done]))[-1] == f"Next: apl-bench compare {tmp_path / 'imdb-lite'}"


def test_a_dry_run_shows_how_the_grid_stands(tmp_path: Path) -> None:
    cells = [cell(tmp_path, name, seed) for name in ("random", "certainty") for seed in (0, 1, 3)]
    cells[0].path.mkdir(parents=True)
    (cells[0].path / "result.json").write_text("{}")
    cells[3].path.mkdir(parents=True)
    (cells[3].path / "spec.json").write_text("{}")
    (cells[3].path / "steps").mkdir()
    (cells[3].path / "steps" / "0001.jsonl").write_text("")
    held = claim(cells[3].path)
    before = sorted(tmp_path.rglob("*"))
    lines = list(dry_run(cells))
    assert [line.split() for line in lines[1:3]] == [
        ["imdb-lite", "random", "0-1,", "3", "1", "0", "2", "0"],
        ["imdb-lite", "certainty", "0-1,", "3", "0", "1", "2", "1"],
    ]
    assert lines[-1].startswith("imdb-lite certainty, seed 0: 1 of 2 steps, claimed by ")
    assert sorted(tmp_path.rglob("*")) == before
    held.release()
    arguments = ("--strategies", "random,certainty", "--seeds", "0-1,3", *OPTIONS, "--out", str(tmp_path), "--dry-run")
    assert "1 of 2 steps\n" in invoke(*arguments).output


def test_what_is_unknown_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    for arguments, said in (
        (("--strategies", "certanty"), "Did you mean 'certainty'"),
        ((), "no strategies"),
        (("--strategies", "random", "--mode", "audit"), "use it with apl-bench run"),
        (("--strategies", "random", "--address", "a:1"), "expected --executor ray with it"),
        (("none.toml",), "no file 'none.toml'"),
    ):
        done = invoke(*arguments, "--out", str(tmp_path))
        assert (done.exit_code, said in done.stderr) == (2, True), done.output
    assert list(tmp_path.iterdir()) == []


def test_one_fails_one_awaits_labels_and_one_is_complete(tmp_path: Path) -> None:
    grids: tuple[tuple[str, list[str], str], ...] = (
        ("random", [], ""),
        ("certainty", ["policy.model=nowhere/at-all.gguf"], ""),
        ("entropy", [], 'oracle = "human:films"'),
    )
    lines = [f'[[grid]]\nstrategies = "{name}"\nset = {[*SETTINGS, *more]}\n{oracle}' for name, more, oracle in grids]
    (tmp_path / "sweep.toml").write_text("\n".join(lines))
    command = [
        sys.executable,
        "-m",
        "apl_bench",
        "sweep",
        str(tmp_path / "sweep.toml"),
        "--out",
        str(tmp_path / "runs"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "APL_BENCH_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 3 cells are complete" in done.stdout
    assert "failed: imdb-lite certainty, seed 0: policy.model is 'nowhere/at-all.gguf'" in done.stdout
    assert "awaiting labels: imdb-lite entropy, seed 0: awaiting 4 labels." in done.stdout
    assert "Traceback" not in done.stdout


def board(tmp_path: Path, found: list[State], **options: Any) -> tuple[Board, io.StringIO]:
    text = io.StringIO()
    return Board(found, 2, Console(file=text, width=100, highlight=False, **options)), text


def test_without_a_terminal_there_is_a_line_for_each_cell(tmp_path: Path) -> None:
    (held,) = states(tmp_path, None)
    shown, text = board(tmp_path, [held], force_terminal=False)
    with shown:
        for _ in range(3):
            held.slot = 0
            shown.began(held)
            shown.tick()
            held.slot, held.last = None, Outcome(End.HELD, "claimed by a\x1b (process 1)")
            shown.ended(held)
    assert text.getvalue().splitlines() == [
        "begin imdb-lite random, seed 0",
        "[0/1] held imdb-lite random, seed 0: claimed by a (process 1); tried again",
    ]


def test_a_terminal_gets_a_picture(tmp_path: Path) -> None:
    found = states(tmp_path, End.DONE, End.FAILED, None, None)
    found[2].slot = 1
    shown, text = board(tmp_path, found, force_terminal=True)
    with shown:
        shown.began(found[2])
    assert "random  #!>." in text.getvalue()
    assert "worker 2" in text.getvalue()
    assert "step 0 of 2" in text.getvalue()
    assert "[2/4] cells" in text.getvalue()


def test_marks_by_grid_strategy_and_seed(tmp_path: Path) -> None:
    found = states(tmp_path, End.DONE, None)
    other = cell(tmp_path, "certainty", 7)
    found.append(State(Cell(other.spec, other.root, "online"), slot=0))
    assert list(marks(found)) == ["imdb-lite", "  random     #.", "imdb-lite (online)", "  certainty  >"]


def test_the_time_left_is_that_of_like_cells(tmp_path: Path) -> None:
    found = states(tmp_path, End.DONE, None, None)
    rates = Rates(2)
    assert rates.left_s(found) is None
    rates.add(found[0].cell, 60.0)
    assert rates.left_s(found) == 60.0  # two cells of 60 s by two workers
    found.append(State(cell(tmp_path, "certainty", 0)))
    assert rates.left_s(found) == 90.0  # of what was never run, the mean of all


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (99.4, "99 s"), (120, "2 min"), (3600 * 25 + 60, "25 h 01 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_each_worker_has_a_gpu_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "3, GPU-a")
    assert environments(None, 2) == [{VISIBLE: "3"}, {VISIBLE: "GPU-a"}]
    assert environments(3, 2) == [{VISIBLE: "3"}, {VISIBLE: "GPU-a"}, {VISIBLE: "3"}]
    monkeypatch.setenv(VISIBLE, "")
    assert visible_gpus() == []
    monkeypatch.setattr("apl_bench.sweep.places.num_cores", lambda: 7)
    assert environments(None, 2) == [{}, {}, {}]
    assert environments(None, 8) == [{}]
    assert environments(4, 8) == [{}] * 4


def test_the_gpu_is_chosen_before_torch_looks_for_one() -> None:
    """What a worker's process imports before it is told its GPU, and what the command does before it has workers."""
    modules = "apl_bench.cli.sweep, apl_bench.sweep.local, apl_bench.sweep.on_ray"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
