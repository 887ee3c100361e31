"""Speed and memory, side by side in one run with what users would pick instead: `apl-bench bench`.

suites.py      what there is to measure, by name; imports nothing heavy
results.py     what was measured: turns side by side, and plain figures
plan.py        what a suite is given: shape, turns, profile; how contenders take turns
shapes.py      the models and lengths that are measured on
machine.py     on what it was measured

The engine is imported here, before torch, because it settles how torch's threads wait: for all contenders alike.
"""

import apl_bench.engine  # noqa: F401

if __name__ != "apl_bench.benchmarks":
    raise ImportError(f"import apl_bench.benchmarks, not {__name__!r}: the folder stands at the root for readers only")
