"""Equations 4-10 of Muldrew et al. (ICML 2024) on plain arrays; log-probabilities are nats summed over a completion.

Written with operators that numpy arrays and torch tensors share. Acquisition uses these lines; what the engine trains
by is tested against them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[np.float64]"


def implicit_reward(policy_logp: Any, reference_logp: Any, beta: float) -> Any:
    """r(x, y) = beta * (log p_theta(y|x) - log p_theta0(y|x)), equation 5, nats; any shape."""
    return beta * (policy_logp - reference_logp)


def dpo_loss(reward_chosen: npt.ArrayLike, reward_rejected: npt.ArrayLike) -> Array:
    """-log sigmoid(r_w - r_l) for each pair, equation 4; the mean over pairs is the DPO loss."""
    return np.asarray(np.logaddexp(0.0, np.subtract(reward_rejected, reward_chosen)))


def preference_probability(reward_first: npt.ArrayLike, reward_second: npt.ArrayLike) -> Array:
    """p(first preferred) = sigmoid(r_1 - r_2): the Bradley-Terry model that DPO fits."""
    return np.asarray(np.exp(-np.logaddexp(0.0, np.subtract(reward_second, reward_first))))


def gradient_weight(reward_chosen: npt.ArrayLike, reward_rejected: npt.ArrayLike) -> Array:
    """sigmoid(r_l - r_w), equation 10: how hard a pair pulls; large only where the prediction is confidently wrong."""
    return preference_probability(reward_rejected, reward_chosen)


def predictive_entropy(logp_SN: Array) -> Array:
    """-(1/N) sum_n log p(y_n|x) with y_n drawn at temperature 1, equation 8: shape (S,), nats, >= 0."""
    return np.asarray(-logp_SN.mean(axis=1))


def certainty(reward_first: npt.ArrayLike, reward_second: npt.ArrayLike) -> Array:
    """|r(x, y_1) - r(x, y_2)|, equation 9: how sure the implicit preference model is of either side."""
    return np.asarray(np.abs(np.subtract(reward_first, reward_second)))
