"""Shared by all tests: no test reaches a network, and none writes outside its temporary folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import apl_bench.engine  # noqa: F401 - before torch: it settles how torch's threads wait

os.environ.setdefault("HF_HUB_OFFLINE", "1")


settings.register_profile("apl-bench", deadline=None)  # a busy machine is slow, and not wrong
settings.load_profile("apl-bench")


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    def refuse(self: socket.socket, address: Any) -> None:
        raise AssertionError(f"a test tried to connect to {address!r}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket.socket, "connect_ex", refuse)
        yield


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APL_BENCH_CACHE_DIR", str(tmp_path / "cache"))
