"""A replay reaches nobody: every connection is refused while it lasts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from apl_bench.types import SpecError


def _refuse(_socket: socket.socket, address: Any) -> NoReturn:
    raise SpecError(f"a replay tried to connect to {address!r}; it asks nobody, and loads nothing from afar: "
                    "provide what is missing beforehand, or use --mode record")  # fmt: skip


@contextmanager
def no_sockets() -> Iterator[None]:
    """No socket of this process connects to anything inside this block."""
    before = socket.socket.connect, socket.socket.connect_ex
    socket.socket.connect = socket.socket.connect_ex = _refuse  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        socket.socket.connect, socket.socket.connect_ex = before  # type: ignore[method-assign]
