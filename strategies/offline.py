"""`offline`: labels bought as if all at once, on completions of theta_0 (an arm of the paper's released code)."""

from __future__ import annotations

from typing import ClassVar, Literal

from apl_bench.strategies.uniform import Random


class Offline(Random):
    """As `random`, with every completion drawn from theta_0 instead of theta_t."""

    summary: ClassVar[str] = "pairs drawn uniformly, completions from theta_0"
    samples_from: Literal["policy", "reference"] = "reference"
