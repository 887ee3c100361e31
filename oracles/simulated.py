"""An oracle whose truth is known: Bradley-Terry on a reward in closed form, with ties, position bias and unreadable
replies at stated rates. For tests, and for the power of a design before anything is paid.

With the reward's difference d = reward(shown first) - reward(shown second), temperature T and tie margin m:

    p_first     = sigmoid(d / T)                                 Bradley-Terry: what the reward says
    p(FIRST)    = (1 - i) * (b + (1 - b) * sigmoid((d - m) / T)) ties as of Rao & Kupper (1967)
    p(SECOND)   = (1 - i) * (1 - b) * sigmoid((-d - m) / T)
    p(INVALID)  = i

and the rest is a TIE, where b is the position bias and i the rate of unreadable replies. At T = 0 nothing is left to
chance but b and i: the higher reward wins, a difference of up to m is a tie. Draws are keyed hashes, as the wrappers'
are: of the seed, the prompt, the texts in the order shown, and the repeat. So a comparison that is shown the other way
round is drawn anew, as a person would be who is asked again, and above T = 0 the two may disagree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import rfc8785

from apl_bench.oracles.classifier import MODELS, Classifier
from apl_bench.oracles.parameters import number, share, whole
from apl_bench.oracles.scores import DIGITS, read_object, shown_texts, sigmoid, usable
from apl_bench.oracles.words import tokenize
from apl_bench.protocols import Oracle, Task
from apl_bench.randomness import unit_interval
from apl_bench.spec import nearest
from apl_bench.types import JSON, Comparison, Reading, Reply, Verdict

SALT = "simulated/1"
MAX_SEED = 2**53 - 1  # what JSON keeps exactly

_POSITIVE_TEXT = (
    "amazing beautiful best brilliant delightful enjoyable enjoyed excellent fantastic favorite fine fun funny good "
    "great hilarious love loved masterpiece moving perfect recommend superb terrific wonderful"
)
_NEGATIVE_TEXT = (
    "annoying awful bad badly boring cliched crap disappointing dull fails hate hated horrible lame mess pointless "
    "poor poorly ridiculous silly stupid terrible unfunny waste worse worst"
)
_POSITIVE, _NEGATIVE = frozenset(_POSITIVE_TEXT.split()), frozenset(_NEGATIVE_TEXT.split())


@dataclass(frozen=True, slots=True)
class Reward:
    """A known reward of a whole text (prompt and completion as they join), and what pins it in a request."""

    measure: Callable[[str], float]
    version: str


def num_words(text: str) -> float:
    """How many words a text has: runs without white space."""
    return float(len(text.split()))


def num_positive_words(text: str) -> float:
    """How many words of a short list of praise a text has, less those of a list of blame; negation is not read."""
    words = [token.lower() for token in tokenize(text)]
    return float(sum(word in _POSITIVE for word in words) - sum(word in _NEGATIVE for word in words))


def _classifier(model: str) -> Reward:
    shipped = Classifier(model)
    return Reward(lambda text: shipped.explain(text).total, str(shipped.identity()["weights_sha256"])[:12])


REWARDS: Mapping[str, Callable[[], Reward]] = {
    "length": lambda: Reward(num_words, "1"),
    "positive-words": lambda: Reward(num_positive_words, "1"),
    **{f"classifier-{model}": partial(_classifier, model) for model in MODELS},
}


@dataclass(frozen=True, slots=True)
class Chances:
    """The probabilities of a comparison's verdicts in shown order, and p_first of the reward alone."""

    p_first: float
    first: float
    second: float
    tie: float
    invalid: float


class Simulated(Oracle):
    """Answers as the reward's Bradley-Terry model would, with the noise that was asked for."""

    summary: ClassVar[str] = "Bradley-Terry on a known reward, with noise, ties and position bias: ground truth"
    local: ClassVar[bool] = True

    def __init__(
        self, reward: str, temperature: float, tie_margin: float, position_bias: float, invalid_rate: float, seed: int
    ) -> None:
        """`reward`: length, positive-words, classifier-oracle or classifier-judge. `temperature` and `tie_margin` are
        in its unit (words, or nats); the rates from 0 to 1. SpecError."""
        if reward not in REWARDS:
            raise nearest(str(reward), "simulated reward", REWARDS)
        self._reward = REWARDS[reward]()
        self._model = f"simulated-{reward}@{self._reward.version}"
        self._temperature = number("temperature", temperature, 0, 1e6)
        self._tie_margin = number("tie_margin", tie_margin, 0, 1e6)
        self._position_bias = share("position_bias", position_bias)
        self._invalid_rate = share("invalid_rate", invalid_rate)
        self._seed = whole("seed", seed, 0, MAX_SEED)

    @classmethod
    def defaults(cls, part: str, task: type[Task]) -> Mapping[str, JSON]:
        """The shipped classifier's score of this part, at temperature 1 and without other noise."""
        del task
        noise = {"temperature": 1.0, "tie_margin": 0.0, "position_bias": 0.0, "invalid_rate": 0.0, "seed": 0}
        return {"reward": f"classifier-{part}", **noise}

    def reward(self, text: str) -> float:
        """The true reward of a whole text."""
        return round(self._reward.measure(text), DIGITS)

    def chances(self, comparison: Comparison) -> Chances:
        """The closed form: how likely each verdict is, over seeds and repeats."""
        difference = self._difference(comparison)
        first, second = self._wins(difference), self._wins(-difference)
        bias, said = self._position_bias, 1 - self._invalid_rate
        return Chances(
            p_first=self._bradley_terry(difference),
            first=said * (bias + (1 - bias) * first),
            second=said * (1 - bias) * second,
            tie=said * (1 - bias) * max(0.0, 1 - first - second),
            invalid=self._invalid_rate,
        )

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        """The reward, the noise and its seed, and the texts as shown."""
        return {
            "provider": "apl-bench",
            "model": self._model,
            "temperature": self._temperature,
            "tie_margin": self._tie_margin,
            "position_bias": self._position_bias,
            "invalid_rate": self._invalid_rate,
            "seed": self._seed,
            **shown_texts(comparison),
        }

    def ask(self, comparisons: Sequence[Comparison]) -> list[Reply]:
        """A drawn verdict for each comparison with both rewards, as canonical JSON."""
        return [self._reply(comparison) for comparison in comparisons]

    def read(self, reply: Reply) -> Reading:
        """The verdict that was drawn, and the reward's own probability of FIRST. Anything else is INVALID."""
        answer = read_object(reply)
        said, p_first = answer.get("verdict"), usable(answer.get("p_first"), 1)
        known = {verdict.value: verdict for verdict in (Verdict.FIRST, Verdict.SECOND, Verdict.TIE)}
        if not isinstance(said, str) or said not in known or p_first is None or p_first < 0:
            return Reading(Verdict.INVALID)
        return Reading(known[said], p_first)

    def _reply(self, comparison: Comparison) -> Reply:
        answer: dict[str, JSON] = {"p_first": self._bradley_terry(self._difference(comparison))}
        for place, text in zip(("first", "second"), comparison.shown, strict=True):
            answer[f"reward_{place}"] = self.reward(comparison.pair.prompt.text + text)
        answer["verdict"] = self._drawn(comparison).value
        return Reply(raw=rfc8785.dumps(answer).decode(), model=self._model)

    def _drawn(self, comparison: Comparison) -> Verdict:
        """One draw decides whether it can be read, one whether the texts matter, one which of them wins."""
        if self._uniform("invalid", comparison) < self._invalid_rate:
            return Verdict.INVALID
        if self._uniform("position", comparison) < self._position_bias:
            return Verdict.FIRST
        difference, drawn = self._difference(comparison), self._uniform("preference", comparison)
        if drawn < self._wins(difference):
            return Verdict.FIRST
        return Verdict.SECOND if drawn >= 1 - self._wins(-difference) else Verdict.TIE

    def _uniform(self, purpose: str, comparison: Comparison) -> float:
        texts = (comparison.pair.prompt.text, *comparison.shown, str(comparison.repeat))
        return unit_interval(SALT, purpose, str(self._seed), *texts)

    def _difference(self, comparison: Comparison) -> float:
        first, second = (self.reward(comparison.pair.prompt.text + text) for text in comparison.shown)
        return round(first - second, DIGITS)

    def _wins(self, difference: float) -> float:
        """Probability that the text ahead by `difference` is preferred by more than the margin."""
        if self._temperature == 0:
            return float(difference > self._tie_margin)
        return sigmoid((difference - self._tie_margin) / self._temperature)

    def _bradley_terry(self, difference: float) -> float:
        if self._temperature == 0:
            return 0.5 + math.copysign(0.5, difference) if difference else 0.5
        return sigmoid(difference / self._temperature)
