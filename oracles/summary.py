"""The local oracle and judge of summaries: a proxy that was fitted to GPT-4's verdicts. It cannot read.

score = sum of coefficient * measure - penalties, in nats, of a post and one completion alone; the higher score wins and
p_first = sigmoid(score_first - score_second). `oracle` and `judge` have different measures of length, of the post's
coverage and of copying (`summary_measures.py`), and were fitted to disjoint halves of the verdicts by
`recipes/summary.py`. No coefficient may be negative. The penalties (repetition, verbatim copying, word salad, lists of
words, content that the post lacks, odd characters, pieces of the prompt, no end) are set by hand: what they are for in
earnest hardly occurs among the texts that were judged.

Against the 398 verdicts, a model's summary or the person's, 20 times 10-fold cross-validation (95 % interval), and what
that is more than two rules which read nothing (paired bootstrap over verdicts). Measures and ridges were chosen with
all of these verdicts in view, so it is flattered:

                                  oracle                     judge
    agrees with GPT-4             70.2 % (65.8 to 74.5)      69.4 % (64.9 to 73.8)
    over always the model's       +6.9 (2.6 to 11.2)         +6.1 (1.7 to 10.4)        63.3 %
    over always the longer        +0.1 (-3.3 to 3.5)         -0.7 (-4.4 to 2.9)        70.1 %
    alone right, alone wrong      25, 23 (p = 0.89)          25, 30 (p = 0.59)         against the longer, McNemar
    on the half not fitted to     68.1 % (longer: 69.3 %)    71.2 % (longer: 70.9 %)
    log score over length alone   0.025 (0.007 to 0.044)     0.019 (-0.002 to 0.040)   nats a verdict

So it beats the first rule and does not beat the second: both intervals have 0 in them. Nothing that was tried does
(`data/README.md`): in these verdicts length says nearly all that words and their places can. As a forecast with its
probabilities the oracle is a little better than length alone. It is worth having because length alone is won by writing
on and on, and this is not: doubling a short summary adds 2 nats, from 240 characters on length costs as much as it
gained, and loops, copies, heaps and lists of words and cut ends lose to a plain good summary. Oracle and judge agree on
88.7 % of those pairs, 92.4 % of 553 others.

Agreement with the person's summary is no part of a score by itself: at evaluation that summary is the opponent, and its
agreement with itself would decide. `agreement_weight` adds it where neither of the two shown is the person's; what it
is worth there, these verdicts cannot say.
Paper: GPT-4 judges.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import rfc8785

from apl_bench.oracles import summary_measures as measures
from apl_bench.oracles.fluency import Association, Penalty, incoherence, odd_share, repetition
from apl_bench.oracles.parameters import number
from apl_bench.oracles.scores import DIGITS, Scored, read_margin, shown_texts
from apl_bench.oracles.scores import reply as scored_reply
from apl_bench.oracles.summary_measures import MEASURES, Post
from apl_bench.oracles.weights import read_weights
from apl_bench.oracles.words import Vocabulary, tokenize
from apl_bench.protocols import Oracle, Task
from apl_bench.spec import nearest
from apl_bench.types import JSON, Comparison, Reading, Reply

MODELS = ("judge", "oracle")

_DATA = Path(__file__).resolve().parent / "data"


@dataclass(frozen=True, slots=True)
class Score:
    """Why a summary is liked: what each measure adds and what each penalty takes, nats, rounded to DIGITS."""

    pieces: Mapping[str, float]

    @property
    def total(self) -> float:
        """What summaries are compared by: the sum of the pieces."""
        return round(math.fsum(self.pieces.values()), DIGITS)


@dataclass(frozen=True, slots=True)
class English:
    """Which words go together, by one of the shipped classifiers, and the checksum of its file."""

    vocabulary: Vocabulary
    association: Association
    sha256: str

    @classmethod
    @cache
    def shipped(cls, model: str) -> English:
        """That of the classifier 'oracle' or 'judge'."""
        weights = read_weights(_DATA / f"{model}.safetensors")
        return cls(weights.vocabulary, weights.association, weights.sha256)


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores a completion of a post: nats for each unit of a measure, and what penalties there are."""

    coefficients: Mapping[str, float]
    penalties: Mapping[str, Penalty]
    english: English

    def __call__(self, post: Post, text: str) -> Score:
        """The pieces of a completion's score."""
        gains = {name: coefficient * MEASURES[name](post, text) for name, coefficient in self.coefficients.items()}
        costs = {name: -self.penalties[name](value) for name, value in self.faults(post, text).items()}
        return Score({name: round(value, DIGITS) + 0.0 for name, value in {**gains, **costs}.items()})

    def faults(self, post: Post, text: str) -> dict[str, float]:
        """What a penalty is put on, before it is."""
        tokens = tokenize(text)
        return {
            "repetition": repetition(tokens),
            "copying": measures.longest_copy(post, text),
            "incoherence": incoherence(self.english.vocabulary.encode(tokens), self.english.association),
            "listing": measures.listing(text),
            "unsupported": 1 - measures.support(post, text),
            "odd": odd_share(text),
            "markers": measures.num_markers(text),
            "unfinished": measures.unfinished(text),
        }

    @property
    def sha256(self) -> str:
        """The checksum of every number that makes a score."""
        penalties = {name: [each.level, each.softness, each.weight] for name, each in self.penalties.items()}
        table: dict[str, Any] = {
            "coefficients": dict(self.coefficients),
            "penalties": penalties,
            "english": self.english.sha256,
        }
        return hashlib.sha256(rfc8785.dumps(table)).hexdigest()


@cache
def _shipped(model: str) -> Scorer:
    table = json.loads((_DATA / "summary.json").read_text(encoding="utf-8"))["models"][model]
    penalties = {name: Penalty(*values) for name, values in table["penalties"].items()}
    return Scorer(table["coefficients"], penalties, English.shipped(model))


class Summary(Oracle):
    """Prefers the summary with the higher score; equal scores are a tie."""

    summary: ClassVar[str] = (
        "proxy for the quality of a post's summary, fitted to GPT-4's verdicts; local, deterministic"
    )
    local: ClassVar[bool] = True

    def __init__(self, model: str, agreement_weight: float = 0.0) -> None:
        """`model`: 'oracle' or 'judge'. `agreement_weight`: nats for full agreement with the person's summary, from 0,
        the default, to 100. SpecError for any other."""
        if model not in MODELS:
            raise nearest(str(model), "summary model", MODELS)
        self._scorer = _shipped(model)
        self._agreement_weight = number("agreement_weight", agreement_weight, 0, 100)
        self._name = f"summary-{model}@{self._scorer.sha256[:12]}"

    @classmethod
    def defaults(cls, part: str, task: type[Task]) -> Mapping[str, JSON]:
        """The model that was fitted for this part."""
        del task
        return {"model": part}

    def identity(self) -> Mapping[str, JSON]:
        """The checksum of its coefficients, penalties and word pairs."""
        return {"weights_sha256": self._scorer.sha256}

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        """The model, by the checksum of its numbers, the texts as shown, and the person's summary where it counts."""
        human = self._human(comparison)
        agreement: dict[str, JSON] = (
            {} if human is None else {"agreement_weight": self._agreement_weight, "human": human}
        )
        return {"provider": "apl-bench", "model": self._name, **agreement, **shown_texts(comparison)}

    def ask(self, comparisons: Sequence[Comparison]) -> list[Reply]:
        """Both scores of each comparison with their pieces, as canonical JSON (RFC 8785)."""
        return [self._reply(comparison) for comparison in comparisons]

    def read(self, reply: Reply) -> Reading:
        """The higher score wins; p_first = sigmoid(score_first - score_second). Anything but two scores is INVALID."""
        return read_margin(reply)

    def explain(self, prompt: str, completion: str) -> Score:
        """The pieces of a completion's score, agreement with a person's summary left out."""
        return self._scorer(Post.read(prompt), completion)

    def _reply(self, comparison: Comparison) -> Reply:
        post, human = Post.read(comparison.pair.prompt.text), self._human(comparison)
        first, second = (self._scored(post, text, human) for text in comparison.shown)
        return scored_reply(self._name, first, second)

    def _scored(self, post: Post, text: str, human: str | None) -> Scored:
        score = self._scorer(post, text)
        if human is not None:
            worth = round(self._agreement_weight * measures.agreement(human, text), DIGITS)
            score = Score({**score.pieces, "agreement": worth})
        return Scored(score.total, score.pieces)

    def _human(self, comparison: Comparison) -> str | None:
        """The person's summary where agreement with it counts: not where it is one of the two."""
        human = comparison.pair.prompt.human_completion
        if human is None or self._agreement_weight == 0:
            return None
        return None if human.strip() in {text.strip() for text in comparison.shown} else human
