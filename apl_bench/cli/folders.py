"""Where things are kept between runs."""

from __future__ import annotations

from pathlib import Path

from apl_bench.cache import cache_folder


def ledger_folder(given: Path | None) -> Path:
    """The ledger: as given, or `judgments` in the cache."""
    return given or cache_folder() / "judgments"
