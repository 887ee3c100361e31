"""Each tracker for real, offline, read back with its own code; those that are not installed are skipped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from apl_bench.cli.main import main
from apl_bench.records import Run
from apl_bench.tracking.rows import Place
from tests.test_replay import GOLDEN
from tests.test_runner import TINY
from tests.tracking.runs import all_values, stopped

NAME = "imdb-lite/certainty/seed-003-652dcae0"
Found = list[tuple[Place, float]]


def in_tensorboard(folder: Path) -> Found:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return [((tag, point.step), point.value) for tag in found.Tags()["scalars"] for point in found.Scalars(tag)]


def in_mlflow(uri: str) -> Found:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("apl-bench/imdb-lite")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["loop.budget"] == "8"
    assert run.info.status == "FINISHED"
    points = [(name, point) for name in run.data.metrics for point in client.get_metric_history(run.info.run_id, name)]
    return [((name, point.step), point.value) for name, point in points]


def in_wandb(folder: Path) -> Found:
    from wandb.proto import wandb_internal_pb2

    found: Found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in leveldb_records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json)
                     for item in record.history.item}  # fmt: skip
            x = int(items.get("num_labels", items.get("step", -1)))
            found += [((name, x), value) for name, value in items.items() if "/" in name]
    return found


def leveldb_records(data: bytes, block: int = 32768) -> Iterator[bytes]:
    """Records of a log of LevelDB behind wandb's own 7 bytes: in each block checksum (4), length (2), kind (1), bytes;
    kinds 1 to 4 are a whole record, its first, middle and last part."""
    place, record = 7, b""
    while place + 7 <= len(data):
        if block - place % block < 7:
            place += block - place % block
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def in_trackio(project: str) -> Found:
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = SQLiteStorage.get_run_records(project)
    logs = SQLiteStorage.get_logs(project, str(run["name"]))
    return [((name, row["step"]), value) for row in logs for name, value in row.items() if "/" in name]


@pytest.fixture
def tracked(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Callable[[], Found]]:
    """A target, and what reads back all that is there; processes of trackers talk over the loopback."""
    backend: str = request.param
    pytest.importorskip(backend, reason=f"{backend} is not installed: pip install 'apl-bench[{backend}]'")
    request.getfixturevalue("loopback")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    if backend == "trackio":
        from trackio import sqlite_storage, utils

        for module in (utils, sqlite_storage):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    database = f"sqlite:///{tmp_path}/mlflow.db"
    return {
        "tensorboard": ("tensorboard:logs", lambda: in_tensorboard(tmp_path / "logs" / NAME)),
        "mlflow": (f"mlflow:{database}", lambda: in_mlflow(database)),
        "wandb": ("wandb", lambda: in_wandb(tmp_path)),
        "trackio": ("trackio:films", lambda: in_trackio("films")),
    }[backend]


@pytest.mark.parametrize("tracked", ["tensorboard", "mlflow", "wandb", "trackio"], indirect=True)
def test_a_stopped_run_and_its_end_are_there_once(tracked: tuple[str, Callable[[], Found]], tmp_path: Path) -> None:
    target, read = tracked
    half = stopped(tmp_path / "half", 6)
    for path, printed in ((half.path, "values logged"), (half.path, "all there already"), (GOLDEN, "values logged"),
                          (GOLDEN, "all there already")):  # fmt: skip
        done = CliRunner().invoke(main, ["track", str(path), "--to", target])
        assert done.exit_code == 0, done.output
        assert printed in done.output
    found = read()
    assert set(Counter(place for place, _ in found).values()) == {1}
    expected = all_values(Run(GOLDEN))
    assert dict(found).keys() == expected.keys()
    assert dict(found) == pytest.approx(expected, rel=1e-6)  # TensorBoard keeps float32


def test_no_text_of_the_run_is_in_the_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'apl-bench[tensorboard]'")
    assert CliRunner().invoke(main, ["track", str(GOLDEN), "--to", f"tensorboard:{tmp_path}"]).exit_code == 0
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("events.*"))
    rows = Run(GOLDEN).all_step_rows(1)
    assert b"training.epochs" in written  # the spec is
    for row in rows:
        if row["kind"] == "candidate":
            assert row["prompt"].encode() not in written
            assert all(completion["text"].encode() not in written for completion in row["completions"])


def test_a_run_is_told_as_it_goes_as_it_is_told_afterwards(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'apl-bench[tensorboard]'")
    settings = [word for setting in TINY for word in ("--set", setting)]
    command = ["run", "--strategy", "random", *settings, "--out", str(tmp_path / "runs"),
               "--ledger", str(tmp_path / "ledger"), "--track", f"tensorboard:{tmp_path / 'live'}"]  # fmt: skip
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    afterwards = CliRunner().invoke(
        main, ["track", str(tmp_path / "runs"), "--to", f"tensorboard:{tmp_path / 'later'}"]
    )
    assert afterwards.exit_code == 0, afterwards.output
    (live,), (later,) = ([path.parent for path in (tmp_path / name).rglob("events.*")] for name in ("live", "later"))
    assert in_tensorboard(live) == in_tensorboard(later) != []
    again = CliRunner().invoke(main, command)
    assert "complete already" in again.output
    assert in_tensorboard(live) == in_tensorboard(later)


def test_a_tracker_that_fails_is_exit_code_1_afterwards(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'apl-bench[tensorboard]'")
    (tmp_path / "file").write_text("no folder")
    done = CliRunner().invoke(main, ["track", str(GOLDEN), "--to", f"tensorboard:{tmp_path / 'file'}"])
    assert done.exit_code == 1
    assert "FAILED" in done.output


def test_a_tracker_that_does_not_exist_stops_a_run_before_it_begins(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["run", "--strategy", "random", "--out", str(tmp_path / "runs"), "--track", "paper"]
    )
    assert done.exit_code == 2
    assert "no tracker called 'paper'" in done.output
    assert not (tmp_path / "runs").exists()
