"""Speed, side by side in one run with what users would pick instead: `python -m benchmarks` (or `make bench`).

The engine is imported here, before torch, because it settles how torch's threads wait: for all contenders alike.
"""

import apl_bench.engine  # noqa: F401
