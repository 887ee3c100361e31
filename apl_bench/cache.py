"""The folder of what is kept between runs: judgments, queues of people, models that were converted."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$APL_BENCH_CACHE_DIR, or ~/.cache/apl-bench."""
    return Path(os.environ.get("APL_BENCH_CACHE_DIR") or Path.home() / ".cache" / "apl-bench")
