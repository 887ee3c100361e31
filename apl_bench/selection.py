"""Batch rules shared by strategies: from scores to rows, with ties broken by the seed.

The tie-break is part of the benchmark, so that a recorded selection can be recomputed: with `perm` the generator's
next permutation of the n candidates, the order is `perm[argsort(-scores[perm], stable)]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apl_bench.types import Acquisition, PairIndex, SpecError


def uniform(num_candidates: int, num: int, rng: np.random.Generator) -> np.ndarray:
    """`num` different rows, each set of them equally likely, shape (num,)."""
    _check_number(num, num_candidates)
    return rng.permutation(num_candidates)[:num]


def top(scores: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of the `num` largest scores, largest first, shape (num,); equal scores in an order drawn from `rng`.

    Raises SpecError for scores that are not finite, and for more rows than there are.
    """
    _check_scores(scores)
    _check_number(num, len(scores))
    perm = rng.permutation(len(scores))
    return perm[np.argsort(-scores[perm], kind="stable")][:num]


def bottom(scores: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of the `num` smallest scores, smallest first, shape (num,); otherwise as `top`."""
    return top(-np.asarray(scores), num, rng)


def ranks(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The place of each value in ascending order (0: the smallest), shape (n,); equal values in an order from `rng`."""
    places = np.empty(len(values), dtype=int)
    places[bottom(values, len(values), rng)] = np.arange(len(values))
    return places


def median_distance(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How many places each value lies from the median, shape (n,), no two the same.

    The median's place, (n - 1) / 2, is moved down by a quarter: of two values as far from it the smaller is nearer.
    """
    return np.abs(ranks(values, rng) - ((len(values) - 1) / 2 - 0.25))


def best(pairs: Sequence[PairIndex], scores: np.ndarray, num: int, rng: np.random.Generator) -> Acquisition:
    """The acquisition of the `num` pairs with the largest scores, all scores kept for the record."""
    if len(pairs) != len(scores):
        raise SpecError(f"{len(scores)} scores for {len(pairs)} pairs; expected one for each")
    rows = top(scores, num, rng)
    return Acquisition(tuple(pairs[row] for row in rows), tuple(pairs), tuple(scores.tolist()))


def _check_scores(scores: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise SpecError(
            f"{len(bad)} of {len(scores)} scores are not finite, the first is {scores[bad[0]]} at row {bad[0]}; "
            "expected finite numbers: look for a division by zero or a log of zero (at step 1 every margin is 0)"
        )


def _check_number(num: int, num_candidates: int) -> None:
    if not 0 <= num <= num_candidates:
        raise SpecError(f"{num} rows of {num_candidates} candidates asked for; expected 0 to {num_candidates}")
