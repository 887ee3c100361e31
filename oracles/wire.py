"""A way to one address: an SDK's client for each event loop, with the key that it takes from the environment."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, Protocol, TypeVar

from apl_bench.oracles.remote import Address, Scrubber, key_from_environment
from apl_bench.types import Reply

PLACEHOLDER_KEY = "no-key"  # what a server of one's own is sent where the environment has no key
TIMEOUT_S = 3600.0  # of the SDK; whoever calls has a deadline of their own


class Client(Protocol):
    """As much of an SDK's client as is the same for all of them."""

    async def close(self) -> None: ...


C = TypeVar("C", bound=Client)


class PerLoop(Generic[C]):
    """A client for the event loop that runs now: connections belong to the loop that opened them."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._held: tuple[asyncio.AbstractEventLoop, C] | None = None

    def get(self) -> C:
        loop = asyncio.get_running_loop()
        if self._held is None or self._held[0] is not loop:
            self._held = (loop, self._make())
        return self._held[1]

    def take(self) -> C | None:
        """The client of this loop, to be closed; None where there is none."""
        held, self._held = self._held, None
        return held[1] if held is not None and held[0] is asyncio.get_running_loop() else None


class SdkWire(ABC, Generic[C]):
    """What the SDKs' wires share. `needs_key` is False for a server of one's own, which is sent a placeholder."""

    key_variable: ClassVar[str]

    def __init__(self, address: Address, model: str, needs_key: bool) -> None:
        self.model = model
        self.who = f"{address.public} ({model})"
        self.scrub = Scrubber(address.secrets)
        self._address = address
        self._needed_by = self.who if needs_key else None
        self._clients = PerLoop(self._connect)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        client = self._clients.take()
        if client is not None:
            await client.close()

    def filtered(self, text: str) -> Reply:
        """The reply to a request that was refused for what its texts say; it has no id and no usage."""
        return Reply(raw=text, model=self.model, outcome="filtered", finish_reason="content_filter")

    @abstractmethod
    def _connect(self) -> C:
        """A client that retries nothing and follows no redirect."""

    def _key(self) -> str:
        """The key to send, which from now on is taken out of all texts. Raises CallError(STOP) where one is needed."""
        key = key_from_environment(self.key_variable, self._needed_by)
        self.scrub = Scrubber([*self._address.secrets, key])
        return key or PLACEHOLDER_KEY
