"""A cell is claimed by one process at a time, whatever happens to it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from apl_bench.sweep import claims
from apl_bench.sweep.claims import FOLDER, STALE_S, Claim, HeldError, LostError, Owner, claim, holder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "certainty" / "seed-000"


def only(run: Path) -> Path:
    (path,) = (run / FOLDER).iterdir()
    return path


def test_one_has_it_and_another_is_told_who(run: Path) -> None:
    assert holder(run) is None
    held = claim(run)
    with pytest.raises(HeldError, match=rf"\(process {os.getpid()}\)"):
        claim(run)
    owner = holder(run)
    assert owner is not None
    assert owner.pid == os.getpid()
    held.release()
    assert holder(run) is None
    claim(run).finish()
    assert not (run / FOLDER).exists()


def test_the_dead_hold_nothing(run: Path) -> None:
    """SIGKILL: of a process of this machine it is known at once, and of a dead one's number given to another, too."""
    code = f"import pathlib, signal, os; from apl_bench.sweep.claims import claim; claim(pathlib.Path({str(run)!r})); os.kill(os.getpid(), signal.SIGKILL)"  # noqa: E501
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    owner = Owner.read(only(run).read_bytes())
    assert owner is not None
    only(run).write_bytes(replace(owner, pid=os.getpid()).to_bytes())  # begun at another time than we
    claim(run).release()


def elsewhere(run: Path, age_s: float) -> Path:
    """A claim of another machine, whose last sign of life is so old."""
    held = claim(run)
    held.release()
    path = only(run)
    path.write_bytes(replace(Owner.here(), machine="another").to_bytes())
    os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    return path


def test_another_machine_is_believed_for_a_while(run: Path) -> None:
    elsewhere(run, STALE_S - 30)
    with pytest.raises(HeldError):
        claim(run)
    elsewhere_again = only(run)
    os.utime(elsewhere_again, (elsewhere_again.stat().st_mtime - 60,) * 2)
    claim(run).release()


def test_a_file_that_cannot_be_read_yet_is_somebody(run: Path) -> None:
    path = elsewhere(run, 0)
    path.write_bytes(b"")
    with pytest.raises(HeldError, match="another process"):
        claim(run)
    os.utime(path, (path.stat().st_mtime - STALE_S - 1,) * 2)
    claim(run).release()


@pytest.mark.parametrize("written", [b"{", b"[]", b'{"host": 1}', b"\xff", json.dumps({"pid": "1"}).encode()])
def test_what_is_no_owner_is_none(written: bytes) -> None:
    assert Owner.read(written) is None
    assert Owner.read(Owner.here().to_bytes()) is not None


def compete(run: Path, start: threading.Barrier, won: list[Claim]) -> None:
    start.wait()
    with suppress(HeldError):
        won.append(claim(run))


@pytest.mark.parametrize("before", ["nothing", "stale"])
def test_of_many_exactly_one_gets_it(run: Path, before: str) -> None:
    for _ in range(20):
        if before == "stale":
            elsewhere(run, STALE_S + 5)
        won: list[Claim] = []
        start = threading.Barrier(8)
        threads = [threading.Thread(target=compete, args=(run, start, won)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        won[0].finish()


def race(run: Path, num: int, started: object, wins: multiprocessing.Queue[int]) -> None:
    """Claim and let go, as often as it goes; note how often somebody else was in there, too."""
    inside = run / "inside"
    got = 0
    for _ in range(num):
        try:
            held = claim(run)
        except HeldError:
            continue
        inside.open("x").close()  # raises where two are in here
        got += 1
        inside.unlink()
        held.release()
    wins.put(got)


def test_processes_that_claim_and_release_never_meet(run: Path) -> None:
    context = multiprocessing.get_context("fork")
    wins: multiprocessing.Queue[int] = context.Queue()
    processes = [context.Process(target=race, args=(run, 60, None, wins)) for _ in range(4)]
    run.mkdir(parents=True)
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert sum(wins.get() for _ in processes) > 0


def test_who_acts_on_an_old_view_withdraws(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saw number 1, whose owner was gone; meanwhile 3 is somebody's, and 2 is free to be made."""
    claim(run).release()
    claim(run).release()
    owner = claim(run)
    assert [path.name for path in (run / FOLDER).iterdir()] == ["000003"]
    really, views = claims._numbers, [[1]]
    monkeypatch.setattr(claims, "_numbers", lambda folder: views.pop() if views else really(folder))
    with pytest.raises(HeldError, match=rf"\(process {os.getpid()}\)"):
        claim(run)
    assert not views
    assert [path.name for path in (run / FOLDER).iterdir()] == ["000003"]
    owner.beat()
    owner.finish()


def test_a_newer_claim_ends_an_older_one(run: Path) -> None:
    held = claim(run)
    held.beat()
    (run / FOLDER / "000002").write_bytes(Owner.here().to_bytes())
    with pytest.raises(LostError):
        held.beat()
    with pytest.raises(LostError):
        held.require()
    held.release()
    assert Owner.read((run / FOLDER / "000001").read_bytes()) == held._owner, "what is lost is left alone"


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(_source: Path, _target: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("no_links")
def test_where_there_are_no_links_the_file_itself_is_made(run: Path) -> None:
    held = claim(run)
    with pytest.raises(HeldError):
        claim(run)
    held.release()
    claim(run).finish()
