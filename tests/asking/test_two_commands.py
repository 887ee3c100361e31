"""Real processes that want one batch at the same moment: one sends it, all get its answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apl_bench.judgments.ledger import Ledger
from tests.fake_batches import BatchPlan
from tests.fake_provider import FakeProvider

NUM = 6
VERDICTS = ["FIRST", "SECOND"] * (NUM // 2)


@pytest.fixture
def server() -> Iterator[FakeProvider]:
    with FakeProvider(batch_plan=BatchPlan(num_polls=3)) as started:
        started.batches.stalls_s = {"POST /v1/files": [0.3] * 9, "POST /v1/batches": [0.3] * 9}
        yield started


def start(folder: Path, url: str, num: int = NUM) -> subprocess.Popen[str]:
    """A command that is ready to ask."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENAI_API_KEY": ""}
    command = [sys.executable, "-m", "tests.asking.one_command", str(folder), url, str(num)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def verdicts(process: subprocess.Popen[str]) -> list[str]:
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    return output.split()


def test_commands_that_want_the_same_at_once_send_one_batch_and_all_get_it(
    tmp_path: Path, server: FakeProvider
) -> None:
    commands = [start(tmp_path, server.base_url) for _ in range(3)]
    go(*commands)
    assert [verdicts(command) for command in commands] == [VERDICTS] * 3
    assert server.batches.num_requests == [NUM]
    assert list((tmp_path / "batches").glob("*.json")) == []
    with Ledger(tmp_path) as ledger:
        assert len(list(ledger.records())) == NUM


def test_of_commands_that_want_some_of_the_same_the_second_sends_the_rest_alone(
    tmp_path: Path, server: FakeProvider
) -> None:
    commands = [start(tmp_path, server.base_url, num) for num in (NUM, NUM + 4)]
    go(*commands)
    assert verdicts(commands[0]) == VERDICTS
    assert verdicts(commands[1]) == [*VERDICTS, "FIRST", "SECOND", "FIRST", "SECOND"]
    assert sum(server.batches.num_requests) == NUM + 4
