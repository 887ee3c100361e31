"""Draws of mean curves under the luck of seeds and of prompts: a two-way bootstrap with multipliers.

For what is no mean of the outcomes, such as the number of labels at which a curve reaches a rate. The deviation of
each seed's curve from the mean curve is multiplied by a standard normal draw (a multiplier bootstrap: Wu 1986, Mammen
1993), and what the prompts add beyond the noise of single cells is drawn from its own covariance. The seeds' part is
divided by the root of a chi-squared over its degrees of freedom, so that at each waypoint the draws of few seeds have
the tails of Student's t and agree with the interval that stands there.

The pigeonhole bootstrap (seeds and prompts both drawn with replacement) is not used: it counts the noise of single
cells three times (Owen 2007, Annals of Applied Statistics 1:386), which here is most of the error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from apl_bench.statistics.estimates import influence, win_rate
from apl_bench.statistics.streams import keyed_generator

NUM_DRAWS = 10_000


@dataclass(frozen=True)
class Draws:
    """A vector of D means, and B draws of it."""

    mean_D: np.ndarray
    draws_BD: np.ndarray


def draw_means(y_DRP: np.ndarray, num_draws: int = NUM_DRAWS) -> Draws | None:
    """The means of D arrays of outcomes on the same seeds and prompts, and draws around them: none of one seed or one
    prompt, which say nothing of others. None where a seed has no valid verdict. The generator is keyed by the outcomes.
    """
    _, num_seeds, num_prompts = y_DRP.shape
    mean_D = np.array([win_rate(y_RP) for y_RP in y_DRP])
    if np.isnan(mean_D).any():
        return None
    if min(num_seeds, num_prompts) < 2:
        return Draws(mean_D, np.empty((0, len(mean_D))))
    rng = keyed_generator(y_DRP)
    influence_DRP = np.stack([influence(y_RP) for y_RP in y_DRP])
    seeds_DR = influence_DRP.sum(axis=2) * math.sqrt(num_seeds / (num_seeds - 1))
    chi = np.sqrt(rng.chisquare(num_seeds - 1, size=(num_draws, 1)) / (num_seeds - 1))
    by_seeds_BD = rng.standard_normal((num_draws, num_seeds)) @ seeds_DR.T / chi
    root_DD = _root(_prompt_covariance(influence_DRP))
    by_prompts_BD = rng.standard_normal((num_draws, len(y_DRP))) @ root_DD
    return Draws(mean_D, mean_D + by_seeds_BD + by_prompts_BD)


def _prompt_covariance(influence_DRP: np.ndarray) -> np.ndarray:
    """Covariance of D means by the luck of the prompts, beyond that of single cells, shape (D, D)."""
    _, num_seeds, num_prompts = influence_DRP.shape
    sums_DP = influence_DRP.sum(axis=1)
    of_seeds = influence_DRP.mean(axis=2, keepdims=True)
    left_over_DRP = influence_DRP - influence_DRP.mean(axis=1, keepdims=True) - of_seeds
    flat = left_over_DRP.reshape(len(influence_DRP), -1)
    per_prompt = num_prompts / (num_prompts - 1)
    by_prompt_DD = sums_DP @ sums_DP.T * per_prompt
    by_cell_DD = flat @ flat.T * per_prompt * num_seeds / (num_seeds - 1)
    return np.asarray(by_prompt_DD - by_cell_DD)


def _root(covariance_DD: np.ndarray) -> np.ndarray:
    """The symmetric square root of the nearest covariance: it is the same whichever eigenvectors a library finds."""
    values, vectors = np.linalg.eigh((covariance_DD + covariance_DD.T) / 2)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)
