"""The ledger of judgments: append-only JSONL is the truth, a diskcache index beside it can be thrown away."""
