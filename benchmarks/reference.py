"""Labelled pairs with what the reference thinks of them."""

from __future__ import annotations

from apl_bench.benchmarks import shapes
from apl_bench.engine import dpo, scoring
from apl_bench.engine.network import Network


def with_reference(theta_0: Network, pairs: shapes.Pairs) -> dpo.TokenPairs:
    """The pairs with the reference's log-probabilities, computed beforehand as in a run."""
    sides = (pairs.chosen, pairs.rejected)
    reference = [scoring.logp(theta_0, scoring.Sequences(pairs.prompts, side)) for side in sides]
    return dpo.TokenPairs(pairs.prompts, pairs.chosen, pairs.rejected, *reference)
