"""The nouns of the benchmark: frozen values, no torch, no input or output.

Log-probabilities are nats summed over a completion's tokens, at temperature 1, wherever they stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, TypeAlias

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"


class SpecError(ValueError):
    """The user asked for something that does not exist or cannot be: names the value, what was expected, what to do."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a policy continues; the same text has the same id. `human_completion` is what a person wrote after it."""

    id: str
    text: str
    human_completion: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A continuation as it was generated: its tokens are kept and never re-tokenised; `finished` means ended by EOS."""

    text: str
    token_ids: tuple[int, ...]
    finished: bool


class PairIndex(NamedTuple):
    """A pair of one prompt's completions in a pool: row of the prompt, and two different columns."""

    prompt: int
    first: int
    second: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of one prompt, in the pool's order (which is not the order shown to an oracle)."""

    prompt: Prompt
    first: Completion
    second: Completion

    @property
    def identical(self) -> bool:
        """True when a reader cannot tell the two apart; such a pair is a tie and is never sent to an oracle."""
        return self.first.text == self.second.text


@dataclass(frozen=True, slots=True)
class Comparison:
    """A pair as an oracle sees it: `swapped` shows the second completion first; `repeat` asks the same again."""

    pair: Pair
    swapped: bool
    repeat: int = 0

    @property
    def shown(self) -> tuple[str, str]:
        """The two texts in the order in which they are shown."""
        first, second = self.pair.first.text, self.pair.second.text
        return (second, first) if self.swapped else (first, second)

    def swap(self) -> Comparison:
        """The same pair in the other order."""
        return Comparison(self.pair, not self.swapped, self.repeat)


class Verdict(Enum):
    """What an oracle said about the two texts in the order *shown*."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"
    INVALID = "invalid"

    def unswap(self, swapped: bool) -> Verdict:
        """The verdict about the pair's own order, given whether it was shown swapped."""
        if not swapped:
            return self
        return {Verdict.FIRST: Verdict.SECOND, Verdict.SECOND: Verdict.FIRST}.get(self, self)


class TokenLogprob(NamedTuple):
    """A token of a reply, its log-probability in nats, and the likeliest tokens at its place with theirs."""

    token: str
    logp: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """An oracle's answer before anybody interprets it: the raw text is the record, a verdict is read from it later.

    `outcome` is ok, truncated, refused or filtered; transport errors are exceptions and never replies. `logprobs` is
    empty unless they really came back.
    """

    raw: str
    model: str
    outcome: str = "ok"
    finish_reason: str | None = None
    response_id: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    latency_s: float | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowance:
    """The most that one call can use, in tokens."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class BatchState:
    """A provider's batch: how many of its requests are done, whether it has ended, and then its replies by position.

    A position without a reply has the reason in `failures`. It was not processed or paid for, and is asked again, but
    for those in `refused` (unpaid too, but the request would be refused again) and in `unsettled` (it may have been
    paid for). A position of which nothing is said is unsettled.
    """

    num_done: int
    ended: bool
    replies: Mapping[int, Reply] = field(default_factory=dict)
    failures: Mapping[int, str] = field(default_factory=dict)
    refused: frozenset[int] = frozenset()
    unsettled: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a raw reply says: the verdict in shown order, and the probability of FIRST where the oracle gives one."""

    verdict: Verdict
    p_first: float | None = None


@dataclass(frozen=True, slots=True)
class Preference:
    """A bought label that DPO can train on, and the acquisition step that bought it."""

    prompt: Prompt
    chosen: Completion
    rejected: Completion
    step: int


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What a strategy returns: the pairs to label, best first, and for the record the scores it ranked.

    `scores[i]` belongs to `scored[i]`; both are empty where a strategy has no score (random).
    """

    pairs: tuple[PairIndex, ...]
    scored: tuple[PairIndex, ...] = ()
    scores: tuple[float, ...] = ()
    diagnostics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LengthBounds:
    """Minimum and maximum number of new tokens of a completion, EOS included."""

    min_new_tokens: int
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One completion to draw; `stream` names its random numbers (seed, purpose, step, prompt, completion)."""

    prompt: Prompt
    bounds: LengthBounds
    stream: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A drawn completion with its log-probability at temperature 1 under the policy that drew it."""

    completion: Completion
    logp: float


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What one fine-tuning did: mean loss of each epoch, number of updates, and tokens that went through the policy."""

    epoch_losses: tuple[float, ...]
    num_updates: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Work:
    """What went through a model: tokens that it was fed, padding not counted, and model FLOPs (engine/flops.py)."""

    num_tokens: int = 0
    num_flops: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.num_tokens + other.num_tokens, self.num_flops + other.num_flops)

    def __sub__(self, other: Work) -> Work:
        return Work(self.num_tokens - other.num_tokens, self.num_flops - other.num_flops)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a model runs on and in which type, and the rate of the fastest matrix product measured there."""

    device: str
    num_threads: int
    dtype: str
    peak_gflop_per_s: float
