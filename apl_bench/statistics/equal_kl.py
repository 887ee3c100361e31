"""Outcomes at equal KL from theta_0: whether a strategy wins more, or only went further with the same labels.

Each seed's outcomes are read between its waypoints, linearly in the root of KL, in which win rates are straighter than
in KL itself (the root that Gao, Schulman and Hilton 2023, "Scaling laws for reward model overoptimization", use).
Letters: W waypoints x R seeds x P test prompts.
"""

from __future__ import annotations

import numpy as np

LADDER = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 70.0, 100.0)  # nats a completion


def roots_of_kl(kl_WR: np.ndarray) -> np.ndarray:
    """Root of KL by waypoint and seed; estimates below 0, or below where a seed has been before, count as that."""
    return np.asarray(np.maximum.accumulate(np.sqrt(np.maximum(kl_WR, 0.0)), axis=0))


def reached_by_all(*kls_WR: np.ndarray) -> list[float]:
    """The steps of the ladder that lie between the first and the last waypoint of every seed of each; none without
    KL."""
    if any(np.isnan(kl_WR).any() for kl_WR in kls_WR):
        return []
    roots = [roots_of_kl(kl_WR) for kl_WR in kls_WR]
    lowest, highest = max(found[0].max() for found in roots), min(found[-1].min() for found in roots)
    return [nats for nats in LADDER if lowest <= nats**0.5 <= highest]


def outcomes_at(y_WRP: np.ndarray, kl_WR: np.ndarray, nats: float) -> np.ndarray:
    """Outcomes at this KL, shape (R, P); NaN where either waypoint has none. Raises ValueError beyond a seed's ends."""
    roots_WR, root = roots_of_kl(kl_WR), nats**0.5
    if not ((roots_WR[0] <= root) & (root <= roots_WR[-1])).all():
        raise ValueError(f"a KL of {nats} nats lies beyond a seed's first or last waypoint")
    return np.stack([_between(y_WRP[:, seed], roots_WR[:, seed], root) for seed in range(y_WRP.shape[1])])


def _between(y_WP: np.ndarray, roots_W: np.ndarray, root: float) -> np.ndarray:
    """The outcomes of one seed there."""
    after = int(np.searchsorted(roots_W, root))  # the first waypoint that is so far
    if roots_W[after] == root:
        return np.asarray(y_WP[after])
    low, high = roots_W[after - 1], roots_W[after]
    share = (root - low) / (high - low)
    return np.asarray((1 - share) * y_WP[after - 1] + share * y_WP[after])
