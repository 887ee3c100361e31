"""Where things are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$APL_BENCH_CACHE_DIR, or ~/.cache/apl-bench."""
    return Path(os.environ.get("APL_BENCH_CACHE_DIR") or Path.home() / ".cache" / "apl-bench")


def ledger_folder(given: Path | None) -> Path:
    """The ledger: as given, or `judgments` in the cache."""
    return given or cache_folder() / "judgments"
