"""Shared by the benchmarks' tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _process_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a benchmark settles for its whole process ends with the test."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    logger = logging.getLogger("transformers")
    threads, level = torch.get_num_threads(), logger.level
    yield
    torch.set_num_threads(threads)
    logger.setLevel(level)
