"""A comparison with the request that it makes, and the key under which the ledger knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from apl_bench.types import JSON, Comparison


@dataclass(frozen=True, slots=True)
class Question:
    """What an oracle is asked."""

    comparison: Comparison
    request: Mapping[str, JSON]
    key: str
