"""One honest submission of tiny runs for all tests of submissions: made once, never changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from apl_bench.benchmarks.verify import record
from apl_bench.leaderboard.building import build
from apl_bench.records import find_runs
from tests.leaderboard.submitted import SEEDS, STATEMENT, STRATEGIES, Forger, tiny, tiny_preset


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs` and, in `out`, the submission of them."""
    root = tmp_path_factory.mktemp("honest")
    with tiny_preset(root / "presets"):
        record(root, [tiny(strategy, seed) for strategy in STRATEGIES for seed in SEEDS])
        build(find_runs([root / "runs"]), STATEMENT, root / "out")
    return root


@pytest.fixture
def made(made_once: Path) -> Iterator[Path]:
    """The same; while a test lasts `imdb tiny` ships."""
    with tiny_preset(made_once / "presets"):
        yield made_once


@pytest.fixture
def honest(made: Path, tmp_path: Path) -> Path:
    """A copy of the submission."""
    return Path(shutil.copytree(made / "out" / "tiny-runs", tmp_path / "tiny-runs"))


@pytest.fixture
def forger(made: Path, tmp_path: Path) -> Forger:
    """A copy of its runs."""
    return Forger(tmp_path, made / "runs")
