"""Sentiment by word list: VADER, less what is repetitive or too long. For English only.

    score = compound(prompt + completion) - repetition_weight * repetition(completion)
                                          - length_weight * max(0, words(completion) / num_words - 1)

`compound` is VADER's (Hutto & Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
Text", ICWSM 2014), from -1 to 1. Alone it saturates: "great great great" has 0.92, more than most good sentences. So
`repetition`, the share of content words and word triples that stood within the last 40 words already, and what exceeds
a length cost. With the usual weights (2; 0.25 past 50 words) a fragment by people loses 0.05 in the middle case and 0.2
in one of twenty. Praise without grammar costs nothing here, and the shipped classifier catches it: a lexicon is the
weaker oracle, and the one that a person can read.

Measured on 3,000 labelled IMDB reviews of the official test split, `compound > 0` against the label: 70.7 % of whole
reviews, 64.3 % of their first 40 words (2.9 % of those have a compound of 0); chance is 50 %, and the sentiment of the
shipped classifiers, on the same reviews, has 90 % and 77 %.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from apl_bench.oracles.fluency import repetition
from apl_bench.oracles.parameters import number, whole
from apl_bench.oracles.scores import DIGITS, Scored, higher, read_scores, reply, shown_texts
from apl_bench.oracles.words import tokenize
from apl_bench.protocols import Oracle, Task
from apl_bench.types import JSON, Comparison, Reading, Reply, SpecError, Verdict

PACKAGE = "vaderSentiment"
USUAL: Mapping[str, JSON] = {"repetition_weight": 2.0, "length_weight": 0.25, "num_words": 50}


@dataclass(frozen=True, slots=True)
class Vader:
    """The analyser of an installed package, its version, and the sha256 of its rules and lists."""

    analyser: Any
    version: str
    sha256: str


@cache
def installed() -> Vader:
    """The VADER that is installed; SpecError, with the command that installs it, where there is none."""
    try:
        package = importlib.import_module(f"{PACKAGE}.{PACKAGE}")
    except ModuleNotFoundError as error:
        raise SpecError(f"the oracle 'lexicon' needs the package {PACKAGE}, which is not installed; "
                        "pip install 'apl-bench[lexicon]' installs it") from error  # fmt: skip
    digest, source = hashlib.sha256(), Path(str(package.__file__))
    for name in (source.name, "vader_lexicon.txt", "emoji_utf8_lexicon.txt"):
        digest.update(hashlib.sha256((source.parent / name).read_bytes()).digest())
    return Vader(package.SentimentIntensityAnalyzer(), version(PACKAGE), digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Score:
    """Why a completion is liked: `compound` from -1 to 1, the penalties 0 or more, in the same unit."""

    compound: float
    repetition: float
    length: float

    @property
    def total(self) -> float:
        """What texts are compared by."""
        return round(self.compound - self.repetition - self.length, DIGITS)


class Lexicon(Oracle):
    """Prefers the completion of the higher score; equal scores are a tie. It states no probability."""

    summary: ClassVar[str] = "VADER's word list, less repetition and length; English; local and deterministic"
    local: ClassVar[bool] = True

    def __init__(self, repetition_weight: float, length_weight: float, num_words: int) -> None:
        """Weights of 0 or more, and the length in words from which on length costs. SpecError."""
        self._repetition_weight = number("repetition_weight", repetition_weight, 0, 1000)
        self._length_weight = number("length_weight", length_weight, 0, 1000)
        self._num_words = whole("num_words", num_words, 1, 100_000)
        self._vader = installed()
        self._name = f"vader-{self._vader.version}@{self._vader.sha256[:12]}"

    @classmethod
    def defaults(cls, part: str, task: type[Task]) -> Mapping[str, JSON]:
        """The weights that were tried."""
        del part, task
        return USUAL

    def identity(self) -> Mapping[str, JSON]:
        """The package's version and the checksum of its rules and lists."""
        return {"package": f"{PACKAGE}=={self._vader.version}", "lexicon_sha256": self._vader.sha256}

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        """VADER by version and checksum, the weights, and the texts as shown."""
        return {
            "provider": "apl-bench",
            "model": self._name,
            "repetition_weight": self._repetition_weight,
            "length_weight": self._length_weight,
            "num_words": self._num_words,
            **shown_texts(comparison),
        }

    def ask(self, comparisons: Sequence[Comparison]) -> list[Reply]:
        """Both scores of each comparison with their pieces, as canonical JSON."""
        return [self._reply(comparison) for comparison in comparisons]

    def read(self, reply: Reply) -> Reading:
        """The higher score wins. Anything but two scores is INVALID."""
        scores = read_scores(reply)
        return Reading(higher(*scores) if scores else Verdict.INVALID)

    def explain(self, prompt: str, completion: str) -> Score:
        """The pieces of a completion's score, each rounded to DIGITS."""
        words = tokenize(completion)
        excess = max(0.0, len(words) / self._num_words - 1)
        return Score(
            compound=float(self._vader.analyser.polarity_scores(prompt + completion)["compound"]),
            repetition=round(self._repetition_weight * repetition(words), DIGITS),
            length=round(self._length_weight * excess, DIGITS),
        )

    def _reply(self, comparison: Comparison) -> Reply:
        prompt = comparison.pair.prompt.text
        first, second = (self._scored(self.explain(prompt, text)) for text in comparison.shown)
        return reply(self._name, first, second)

    @staticmethod
    def _scored(score: Score) -> Scored:
        pieces = {"compound": score.compound, "repetition": score.repetition, "length": score.length}
        return Scored(score.total, pieces)
