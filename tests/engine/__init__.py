"""Tests of the engine. It is imported here, before torch, because it settles how torch's threads wait."""

import apl_bench.engine  # noqa: F401
