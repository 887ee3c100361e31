"""Shared by all tests: no test reaches a network, and none writes outside its temporary folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

import apl_bench.engine  # noqa: F401 - before torch: it settles how torch's threads wait
from tests.browser import Browser

if TYPE_CHECKING:
    from apl_bench.judgments.ledger import Ledger

os.environ.setdefault("HF_HUB_OFFLINE", "1")


# a busy machine is slow, and not wrong
settings.register_profile("apl-bench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("apl-bench")


_CONNECT, _CONNECT_EX = socket.socket.connect, socket.socket.connect_ex
_open_to_loopback = False


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    def checked(family: int, address: Any) -> None:
        here = family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1")
        if not (_open_to_loopback and here):
            raise AssertionError(f"a test tried to connect to {address!r}")

    def connect(self: socket.socket, address: Any) -> None:
        checked(self.family, address)
        _CONNECT(self, address)

    def connect_ex(self: socket.socket, address: Any) -> int:
        checked(self.family, address)
        return _CONNECT_EX(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket.socket, "connect_ex", connect_ex)
        yield


@contextmanager
def on_loopback() -> Iterator[None]:
    """Lets tests reach servers that they started themselves, by the number of this machine's loopback."""
    global _open_to_loopback  # noqa: PLW0603 - the fixture above looks at it in every connect
    before, _open_to_loopback = _open_to_loopback, True
    try:
        yield
    finally:
        _open_to_loopback = before


@pytest.fixture
def loopback() -> Iterator[None]:
    """`on_loopback` while a test lasts."""
    with on_loopback():
        yield


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests of a file, which are to skip where `tests.browser.missing` says so."""
    with on_loopback():  # the fixture `loopback` is one test's
        opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    with on_loopback():
        opened.close()


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APL_BENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("CI", raising=False)  # where it is set, oracles that are not local are replayed


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    from apl_bench.judgments.ledger import Ledger

    with Ledger(tmp_path / "ledger") as opened:
        yield opened
