"""Made-up outcomes with a known truth, to find out what tests and intervals are worth.

Verdicts of A strategies at W waypoints, on R seeds and P prompts that all share, as in a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr


@dataclass(frozen=True, slots=True)
class Luck:
    """Where luck comes from. The first four are standard deviations of the chance of winning.

    `seed` and `prompt`: what all strategies share (some prompts are easier to win for any). `own_seed` and
    `own_prompt`: what belongs to one strategy (some prompts suit it, which others do not). `cell`: the correlation of
    the verdicts' own noise between strategies on the same seed and prompt, whose opponent is the same text.
    """

    seed: float = 0.0
    prompt: float = 0.0
    own_seed: float = 0.0
    own_prompt: float = 0.0
    cell: float = 0.0


def outcomes(
    rates_AW: np.ndarray, luck: Luck, num_seeds: int, num_prompts: int, rng: np.random.Generator
) -> np.ndarray:
    """Wins (1) and losses (0), shape (A, W, R, P): in the mean over seeds and prompts `rates_AW`.

    Luck of prompts is plus or minus its standard deviation, that of seeds is normal. Keep rates away from 0 and 1 by
    more than the luck together: chances are cut off there, and their mean is no longer the rate.
    """
    num_arms, num_waypoints = rates_AW.shape
    by_seed = luck.seed * rng.standard_normal((1, 1, num_seeds, 1))
    by_prompt = luck.prompt * rng.choice([-1.0, 1.0], (1, 1, 1, num_prompts))
    own_seed = luck.own_seed * rng.standard_normal((num_arms, 1, num_seeds, 1))
    own_prompt = luck.own_prompt * rng.choice([-1.0, 1.0], (num_arms, 1, 1, num_prompts))
    chance_AWRP = rates_AW[:, :, None, None] + by_seed + by_prompt + own_seed + own_prompt
    shared = rng.standard_normal((1, 1, num_seeds, num_prompts))
    alone = rng.standard_normal((num_arms, num_waypoints, num_seeds, num_prompts))
    noise = ndtr(np.sqrt(luck.cell) * shared + np.sqrt(1 - luck.cell) * alone)
    return np.asarray((noise < chance_AWRP).astype(float))
