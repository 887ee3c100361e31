"""The local oracle and judge of movie reviews: positive sentiment, less what is repetitive or broken.

score = sentiment - repetition - brokenness, all in nats. `oracle` and `judge` are two models of one kind that share no
training review. The wish is that of the paper's judging prompt (appendix A): "the most positive sentiment, which also
is grammatically correct, consistent, and avoids repetition".
Paper: GPT-4 judges. This stands in for it at no cost, and knows words and pairs of words only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from apl_bench.oracles.fluency import incoherence, odd_share, repetition, unknown_share
from apl_bench.oracles.scores import DIGITS, Scored, read_margin, shown_texts
from apl_bench.oracles.scores import reply as scored_reply
from apl_bench.oracles.sentiment import bounded, feature_keys, log_odds
from apl_bench.oracles.weights import Weights, read_weights
from apl_bench.oracles.words import may_be_cut, tokenize
from apl_bench.protocols import Oracle, Task
from apl_bench.spec import nearest
from apl_bench.types import JSON, Comparison, Reading, Reply

MODELS = ("judge", "oracle")

_DATA = Path(__file__).resolve().parent / "data"


@dataclass(frozen=True, slots=True)
class Score:
    """Why a text is liked: `sentiment` is the bounded log-odds of positive, the penalties are positive; all nats."""

    sentiment: float
    repetition: float
    brokenness: float

    @property
    def total(self) -> float:
        """What texts are compared by."""
        return round(self.sentiment - self.repetition - self.brokenness, DIGITS)


class Scorer:
    """Scores texts one by one: the same text has the same digits in any batch and on any machine."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def __call__(self, text: str) -> Score:
        """The pieces of a text's score, each rounded to DIGITS."""
        tokens = tokenize(text)
        ids = self.weights.vocabulary.encode(tokens)
        penalty = self.weights.penalties["repetition"](repetition(tokens))
        return Score(
            sentiment=round(self.sentiment(ids), DIGITS),
            repetition=round(penalty, DIGITS),
            brokenness=round(self.brokenness(text, tokens, ids), DIGITS),
        )

    def sentiment(self, ids: Sequence[int]) -> float:
        """The bounded log-odds of positive, nats."""
        keys = feature_keys(ids, self.weights.vocabulary)
        return bounded(log_odds(keys, self.weights.sentiment, self.weights.intercept), self.weights.limit)

    def brokenness(self, text: str, tokens: Sequence[str], ids: Sequence[int]) -> float:
        """Penalties for incoherent, unknown and odd text, nats. A last word that may be cut in half is not judged."""
        end = len(tokens) - 1 if tokens and may_be_cut(text) else len(tokens)
        measures = {
            "incoherence": incoherence(ids[:end], self.weights.association),
            "unknown": unknown_share(tokens[:end], ids[:end]),
            "odd": odd_share(text),
        }
        return math.fsum(self.weights.penalties[name](value) for name, value in measures.items())


@cache
def _shipped(model: str) -> Scorer:
    return Scorer(read_weights(_DATA / f"{model}.safetensors"))


class Classifier(Oracle):
    """Prefers the review with the higher score (prompt and completion as they join); equal scores are a tie."""

    summary: ClassVar[str] = "shipped sentiment classifier, less repetition and broken text; local and deterministic"
    local: ClassVar[bool] = True

    def __init__(self, model: str) -> None:
        """`model`: 'oracle' or 'judge', trained on disjoint thirds of the labelled reviews. SpecError for any other."""
        if model not in MODELS:
            raise nearest(str(model), "classifier model", MODELS)
        self._scorer = _shipped(model)
        self._name = f"classifier-{model}@{self._scorer.weights.sha256[:12]}"

    @classmethod
    def defaults(cls, part: str, task: type[Task]) -> Mapping[str, JSON]:
        """The model that was trained for this part."""
        del task
        return {"model": part}

    def identity(self) -> Mapping[str, JSON]:
        """The checksum of its weights."""
        return {"weights_sha256": self._scorer.weights.sha256}

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        """The model, by the checksum of its weights, and the texts as shown."""
        return {
            "provider": "apl-bench",
            "model": self._name,
            **shown_texts(comparison),
        }

    def ask(self, comparisons: Sequence[Comparison]) -> list[Reply]:
        """Both scores of each comparison with their pieces, as canonical JSON (RFC 8785)."""
        return [self._reply(comparison) for comparison in comparisons]

    def read(self, reply: Reply) -> Reading:
        """The higher score wins; p_first = sigmoid(score_first - score_second). Anything but two scores is INVALID."""
        return read_margin(reply)

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """The score of each whole text, shape (len(texts),), nats."""
        return np.array([self._scorer(text).total for text in texts])

    def explain(self, text: str) -> Score:
        """The pieces of one text's score."""
        return self._scorer(text)

    def _reply(self, comparison: Comparison) -> Reply:
        first, second = (self._scored(comparison.pair.prompt.text + text) for text in comparison.shown)
        return scored_reply(self._name, first, second)

    def _scored(self, text: str) -> Scored:
        score = self._scorer(text)
        pieces = {"sentiment": score.sentiment, "repetition": score.repetition, "brokenness": score.brokenness}
        return Scored(score.total, pieces)
