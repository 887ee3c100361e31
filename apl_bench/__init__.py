"""apl-bench: a benchmark of active preference learning for language models."""

__version__ = "0.1.0"
