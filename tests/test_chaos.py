"""A whole small experiment under random faults and kills ends with the same bytes as a quiet one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_provider import Call, FakeProvider
from tests.test_kill import SETTINGS, result

# Faults that pass: what a call meets may be gone at the next attempt. Refusals and the like are answers, and stay.
PASSING = ("rate-limit:0.05", "408", "409", "500", "503", "stall:3", "malformed", "wrong-type", "not-a-table",
           "empty-choices", "hang-up", "hang-up-after-head", "half-body")  # fmt: skip


class Weather:
    """A fault for a share of the calls, by a generator of its own."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._draws = random.Random(7)

    def __call__(self, call: Call) -> str | None:
        return self._draws.choice(PASSING) if self._draws.random() < self.share else None


@pytest.fixture
def server() -> Iterator[FakeProvider]:
    with FakeProvider(latency_s=0.005, max_concurrent=6, faults=Weather(0.0)) as started:
        yield started


def start(folder: Path, url: str, deadline_s: int = 1) -> subprocess.Popen[bytes]:
    oracle = f'openai(fake, template=sentiment-v2, base_url="{url}", max_output_tokens=64)'
    command = [sys.executable, "-m", "apl_bench", "run", "--strategy", "certainty", "--oracle", oracle,
               "--judge", oracle, "--deadline", str(deadline_s), "--out", str(folder / "runs")]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "APL_BENCH_CACHE_DIR": str(folder / "cache")}
    options = [f"--set={setting}" for setting in SETTINGS]
    return subprocess.Popen(
        [*command, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=False
    )


def weathered(process: subprocess.Popen[bytes], seconds: float) -> int:
    """The exit code of a run that was left alone for so long, and then killed."""
    try:
        output = process.communicate(timeout=seconds)[0].decode()
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return process.returncode
    assert process.returncode == 0 or "(tried 6 times)" in output, output  # so much bad luck is told, and goes by
    return process.returncode


@pytest.mark.usefixtures("loopback")
def test_faults_and_kills_change_no_byte_of_the_result(tmp_path: Path, server: FakeProvider) -> None:
    quiet = start(tmp_path / "quiet", server.base_url, deadline_s=60)
    output = quiet.communicate(timeout=300)[0].decode()
    assert quiet.returncode == 0, output
    assert "spent:" in output
    num_needed = len(server.answered())

    server.faults, moments = Weather(0.25), random.Random(3)
    stormy = tmp_path / "stormy"
    codes = [weathered(start(stormy, server.base_url), moments.uniform(4, 9)) for _ in range(4)]
    while not list(stormy.rglob("result.json")):
        codes.append(weathered(start(stormy, server.base_url), 300.0))
        assert len(codes) < 10, codes
    assert {call.fault for call in server.calls} & set(PASSING), "the weather was rough"
    assert result(stormy) == result(tmp_path / "quiet")
    assert len(server.answered()) == num_needed, "the same comparisons were asked, and no others"
