"""The oracles that ship with apl-bench, one file each."""

if __name__ != "apl_bench.oracles":
    raise ImportError(f"import apl_bench.oracles, not {__name__!r}: the folder stands at the root for readers only")
