"""Logistic regression with errors clustered one way or two, and the win rate at equal length that follows from it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.stats.sandwich_covariance import cov_cluster, cov_cluster_2groups

_MAX_LOG_ODDS = 30.0
_MAX_CONDITION = 1e12
# Of the coefficients, not of the deviance, which stops falling while coefficients of separated data still run away.
_MAX_ROUNDS, _TOLERANCE = 50, 1e-10


@dataclass(frozen=True)
class Fitted:
    """Coefficients and their standard errors, one for each column."""

    coefficient_K: np.ndarray
    error_K: np.ndarray


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """The win rate that the regression predicts for texts of equal length, with its standard error; and the slope, in
    log-odds for each doubling of the policy's length against the opponent's."""

    win_rate: float
    se: float
    slope: float


def logistic(x_NK: np.ndarray, y_N: np.ndarray, clusters: tuple[np.ndarray, ...]) -> Fitted | None:
    """logit P(y = 1) = x b, by maximum likelihood; y may be 1/2. None where no finite coefficients fit.

    Errors are clustered by one or two groupings of the N rows (integers). By two: Cameron, Gelbach and Miller (2011),
    never below that by either alone. With statsmodels' correction for few clusters, G / (G - 1) (N - 1) / (N - K).
    """
    if np.linalg.matrix_rank(x_NK) < x_NK.shape[1]:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of separation and overflow, which the checks below are for
        found = GLM(y_N, x_NK, family=Binomial()).fit(maxiter=_MAX_ROUNDS, tol=_TOLERANCE, tol_criterion="params")
    if not found.converged or not np.abs(x_NK @ found.params).max() <= _MAX_LOG_ODDS:
        return None
    if np.linalg.cond(found.normalized_cov_params) > _MAX_CONDITION:
        return None
    covariances = cov_cluster_2groups(found, *clusters) if len(clusters) > 1 else [cov_cluster(found, clusters[0])]
    return Fitted(found.params, np.sqrt(np.max([np.diag(each) for each in covariances], axis=0)))


def length_controlled(y_RP: np.ndarray, log_ratio_RP: np.ndarray) -> LengthControlled | None:
    """The win rate at equal length: a sensitivity check beside the win rate, not a better one.

    logit P(policy wins) = a + b log2(length of the policy's text / the opponent's), as in the length-controlled win
    rate of AlpacaEval (Dubois, Galambosi, Liang and Hashimoto 2024, arXiv 2404.04475); the rate is 1 / (1 + e^-a), its
    error by the delta method, clustered by seed and by prompt (by prompt alone with one seed). `log_ratio_RP` is in
    doublings. None where nothing finite fits: one outcome only, or one prompt.
    """
    num_seeds, num_prompts = y_RP.shape
    valid = ~np.isnan(y_RP)
    y_N, x_N = y_RP[valid], log_ratio_RP[valid]
    if num_prompts < 2 or not len(y_N) or np.ptp(y_N) == 0:
        return None
    seeds_N, prompts_N = np.nonzero(valid)
    columns = [np.ones_like(x_N), x_N] if np.ptp(x_N) > 0 else [np.ones_like(x_N)]
    clusters = (seeds_N, prompts_N) if num_seeds > 1 else (prompts_N,)
    fitted = logistic(np.column_stack(columns), y_N, clusters)
    if fitted is None:
        return None
    rate = float(expit(fitted.coefficient_K[0]))
    slope = float(fitted.coefficient_K[1]) if len(columns) > 1 else 0.0
    return LengthControlled(rate, rate * (1 - rate) * float(fitted.error_K[0]), slope)
