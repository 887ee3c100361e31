"""The strategies that ship with apl-bench, one file each."""

if __name__ != "apl_bench.strategies":
    raise ImportError(f"import apl_bench.strategies, not {__name__!r}: the folder stands at the root for readers only")
