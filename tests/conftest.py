"""Shared by all tests: no test reaches a network, and none writes outside its temporary folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

import apl_bench.engine  # noqa: F401 - before torch: it settles how torch's threads wait

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: Any) -> None:
        raise AssertionError(f"a test tried to connect to {address!r}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APL_BENCH_CACHE_DIR", str(tmp_path / "cache"))
