"""The leaderboard: it reads recorded runs and never runs a model."""

if __name__ != "apl_bench.leaderboard":
    raise ImportError(f"import apl_bench.leaderboard, not {__name__!r}: the folder stands at the root for readers only")
