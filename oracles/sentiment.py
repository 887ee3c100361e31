"""Sentiment of a short review: a bounded log-odds from words, word pairs, and words under a negation.

The model is logistic regression over binary features scaled by their naive-Bayes log-count ratio and normed to length 1
(Wang & Manning, "Baselines and Bigrams", ACL 2012), with words marked in the scope of a negator (Das & Chen 2001).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from apl_bench.oracles.words import NEGATED, NOTHING, UNKNOWN, Vocabulary, pair_key

NEGATION_SCOPE = 3  # words after a negator, up to the next mark


def feature_keys(ids: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    """The features of a text, each once, in order of appearance: words, negated words, and pairs of adjacent words."""
    keys: list[int] = []
    previous, scope = NOTHING, 0
    for word in ids:
        if word in vocabulary.breaks:
            keys.append(word)
            previous, scope = NOTHING, 0
            continue
        if word != UNKNOWN:
            keys.append(pair_key(NEGATED, word) if scope else word)
            if previous > UNKNOWN:
                keys.append(pair_key(previous, word))
        scope = NEGATION_SCOPE if word in vocabulary.negators else max(scope - 1, 0)
        previous = word
    return list(dict.fromkeys(keys))


def log_odds(keys: Sequence[int], weights: Mapping[int, tuple[float, float]], intercept: float) -> float:
    """log p(positive) / p(negative), nats: the sum of the features' weights over the Euclidean norm of their scales.

    `weights` holds (weight, scale) by feature. fsum is exact, so the digits do not depend on the order of the features.
    """
    known = [weights[key] for key in keys if key in weights]
    norm = math.sqrt(math.fsum(scale * scale for _, scale in known))
    return intercept + (math.fsum(weight for weight, _ in known) / norm if norm else 0.0)


def bounded(value: float, limit: float) -> float:
    """`value` where it is small, approaching +-`limit` where it is large: piling up praise stops paying.

    Made of correctly rounded operations only, so that every machine gives the same digits (tanh would not).
    """
    return value / math.sqrt(1.0 + (value / limit) ** 2)
