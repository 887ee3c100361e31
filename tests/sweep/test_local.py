"""`apl-bench sweep` as users start it: the bytes of `apl-bench run`, whoever is killed and whatever is in the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from apl_bench.judgments.ledger import Ledger
from apl_bench.sweep import schedule
from apl_bench.sweep.claims import FOLDER, Owner, holder
from apl_bench.sweep.worker import End, Worker
from tests.sweep.conftest import Alone
from tests.sweep.tiny import OPTIONS, cell, orders, work, written

STRATEGIES = ("random", "certainty")
GRID = ("--strategies", ",".join(STRATEGIES), "--seeds", "0-1", *OPTIONS)


def begin(root: Path, *extra: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "apl_bench", "sweep", *GRID, "--out", str(root), *extra]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "APL_BENCH_CACHE_DIR": str(root / "cache")}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - these tests have no threads
    )


def heed_ctrl_c() -> None:
    """Where tests run in the background, a shell has them and their children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def end(process: subprocess.Popen[str], code: int = 0) -> str:
    output = process.communicate(timeout=300)[0]
    assert process.returncode == code, output
    return output


def until(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def owners(root: Path) -> list[Owner]:
    found = [Owner.read(path.read_bytes()) for path in root.glob(f"*/*/*/{FOLDER}/0*")]
    return [owner for owner in found if owner is not None]


def results(root: Path) -> list[dict[str, bytes]]:
    return [written(cell(root, name, seed).path) for seed in (0, 1) for name in STRATEGIES]


def wait_until_nobody_works(root: Path) -> None:
    """An orphan would hold on to its cell, and nobody would hear of it."""
    deadline = time.monotonic() + 60
    while any(holder(path.parent) for path in root.glob(f"*/*/*/{FOLDER}")):
        assert time.monotonic() < deadline, "a worker outlived its sweep"
        time.sleep(0.05)


def judged(root: Path) -> list[str]:
    with Ledger(root / "cache" / "judgments") as ledger:
        return [record.key for record in ledger.records()]


@pytest.fixture
def alone_bytes(alone: Alone) -> list[dict[str, bytes]]:
    """What `apl-bench run` writes, each cell by itself."""
    return [written(alone(name, seed).path) for seed in (0, 1) for name in STRATEGIES]


def test_two_workers_write_what_run_writes_and_the_same_again_does_nothing(
    alone_bytes: list[dict[str, bytes]], tmp_path: Path
) -> None:
    track = ["--track", f"tensorboard:{tmp_path / 'tensorboard'}"] if find_spec("tensorboard") else []
    said = end(begin(tmp_path, "--workers", "2", *track))
    assert results(tmp_path) == alone_bytes
    assert "4 cells, 0 complete already\n2 workers on this machine\n" in said
    assert "[4/4] done" in said
    assert "4 of 4 cells are complete" in said
    assert "\x1b" not in said
    assert list(tmp_path.glob(f"*/*/*/{FOLDER}")) == []
    times = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("result.json"))]
    told = sorted((tmp_path / "tensorboard").rglob("events.out.*"))
    assert len(told) == (4 if track else 0)
    again = end(begin(tmp_path, *track))
    assert sorted((tmp_path / "tensorboard").rglob("events.out.*")) == told
    assert "4 cells, 4 complete already" in again
    assert "on this machine" not in again, "nothing is started where nothing is to be done"
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("result.json"))] == times


def test_a_killed_worker_is_replaced_and_a_killed_sweep_goes_on(
    alone_bytes: list[dict[str, bytes]], tmp_path: Path
) -> None:
    process = begin(tmp_path, "--workers", "1")
    until(lambda: list(tmp_path.glob("*/*/*/steps/0001.jsonl")), process)
    (owner,) = owners(tmp_path)
    os.kill(owner.pid, signal.SIGKILL)
    until(lambda: len(list(tmp_path.rglob("result.json"))) > 0, process)
    until(lambda: owners(tmp_path) and list(tmp_path.glob("*/*/*/state/policy-0001.safetensors")), process)
    process.kill()
    said = process.communicate()[0]
    wait_until_nobody_works(tmp_path)
    assert "its process ended with signal SIGKILL" in said
    assert "tried again" in said
    num_done = len(list(tmp_path.rglob("result.json")))
    assert num_done < 4
    assert f"4 cells, {num_done} complete already" in end(begin(tmp_path, "--workers", "2"))
    assert results(tmp_path) == alone_bytes
    keys = judged(tmp_path)
    assert len(keys) == len(set(keys)), "a judgment was bought twice"


def test_two_sweeps_share_the_work(alone_bytes: list[dict[str, bytes]], tmp_path: Path) -> None:
    both = [begin(tmp_path, "--workers", "1") for _ in range(2)]
    for process in both:
        assert "4 of 4 cells are complete" in end(process)
    assert results(tmp_path) == alone_bytes
    begun = [event for path in tmp_path.rglob("events.jsonl") for event in path.read_text().splitlines()
             if json.loads(event)["event"] == "begin"]  # fmt: skip
    assert len(begun) == 4, "a cell was run twice"


@pytest.mark.parametrize("signalled", [signal.SIGINT, signal.SIGTERM])
def test_who_is_told_to_stop_lets_go_of_the_cells(tmp_path: Path, signalled: signal.Signals) -> None:
    """Ctrl-C goes to all processes of a terminal, SIGTERM to the sweep alone."""
    process = begin(tmp_path, "--workers", "1", "--max-calls", "9")
    until(lambda: list(tmp_path.glob("*/*/*/spec.json")), process)
    assert len(list((tmp_path / ".spent").iterdir())) == 1
    (os.killpg if signalled is signal.SIGINT else os.kill)(process.pid, signalled)
    assert "Aborted!" in end(process, code=1)
    (owner,) = owners(tmp_path)
    assert owner.released
    assert not (tmp_path / ".spent").exists()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot confine a process to a core")
def test_digits_do_not_depend_on_the_cores_that_a_worker_gets(tmp_path: Path) -> None:
    """Threads are a setting, and two of them on one core add up as two on two cores do."""
    two = ("--set", "policy.num_threads=2", "--strategies", "certainty", "--seeds", "0")
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})  # processes begin with that of whoever starts them
        confined = begin(tmp_path / "one", *two, "--workers", "1")
    finally:
        os.sched_setaffinity(0, cores)
    end(confined)
    settings = "policy.num_threads=2"
    unconfined = cell(tmp_path / "all", "certainty", 0, settings)
    assert work(Worker(orders(tmp_path / "ledger")), [unconfined])[0].end is End.DONE
    assert written(cell(tmp_path / "one", "certainty", 0, settings).path) == written(unconfined.path)


def test_a_result_of_other_plugins_is_not_taken_for_this_one(alone: Alone, tmp_path: Path) -> None:
    done = cell(tmp_path, "random", 0)
    shutil.copytree(alone("random", 0).path, done.path)
    manifest = json.loads((done.path / "spec.json").read_text())
    manifest["strategy"]["source_sha256"] = "0" * 64
    (done.path / "spec.json").write_text(json.dumps(manifest))
    (state,) = schedule.begin([done])
    assert state.ended
    assert state.last is not None
    assert state.last.end is End.FAILED
    assert "was begun with another strategy" in state.last.sentence
