"""The tasks that ship with apl-bench, one file each."""

if __name__ != "apl_bench.tasks":
    raise ImportError(f"import apl_bench.tasks, not {__name__!r}: the folder stands at the root for readers only")
