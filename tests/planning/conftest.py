"""Runs to plan for: what they share is loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from apl_bench.experiment import Materials, prepare
from tests.planning.planned import Folder, tiny


@pytest.fixture(scope="session")
def materials() -> Materials:
    return prepare(tiny("random"))


@pytest.fixture
def folder(tmp_path: Path, materials: Materials) -> Folder:
    return Folder(tmp_path, materials)
