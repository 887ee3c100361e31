"""A provider on loopback, and an oracle of each kind that asks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apl_bench.asking import batches
from apl_bench.protocols import BatchOracle
from tests.asking.commands import anthropic, openai
from tests.fake_provider import FakeProvider


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between tries, and no key of the machine."""
    monkeypatch.setattr(batches, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(batches, "LONGEST_WAIT_S", 0.002)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[FakeProvider]:
    with FakeProvider() as started:
        yield started


@pytest.fixture(params=["openai", "anthropic"])
def oracle(request: pytest.FixtureRequest, server: FakeProvider) -> BatchOracle:
    return openai(server) if request.param == "openai" else anthropic(server)
