"""Files that commands are called on: runs to compare, runs to report on, pairs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.cli import compared as compared_runs
from tests.cli import reported as reported_runs
from tests.cli.reported import lines


@pytest.fixture
def compared(tmp_path: Path) -> compared_runs.Write:
    """Write a complete run: compared("certainty", 0, "wwlt")."""
    return partial(compared_runs.write_run, tmp_path)


@pytest.fixture
def judged(tmp_path: Path) -> reported_runs.Write:
    """Write a complete run: judged(oracle, judge, order, seed)."""
    return partial(reported_runs.write_run, tmp_path)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Six pairs; the label is right for those who go by words, but for the last."""
    rows = [
        {"prompt": f"Film {i} was", "first": " good" * (i + 1), "second": " good" * (6 - i) + ".", "label": label}
        for i, label in enumerate(["second", "second", "second", "first", "first", "tie"])
    ]
    path = tmp_path / "pairs.jsonl"
    lines(path, rows)
    return path
