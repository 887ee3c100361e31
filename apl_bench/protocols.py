"""What a plugin provides: a Task, a Strategy or an Oracle; and what the engine provides to the runner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

import numpy as np

from apl_bench.types import (
    JSON,
    Acquisition,
    Allowance,
    BatchState,
    Comparison,
    Completion,
    LengthBounds,
    Machine,
    Preference,
    Prompt,
    Reading,
    Reply,
    Sample,
    SampleRequest,
    TrainingReport,
    Work,
)

if TYPE_CHECKING:
    from apl_bench.pool import CandidatePool, PromptPool
    from apl_bench.spec import TrainingSpec

Split: TypeAlias = Literal["train", "test"]


class Tokenizer(Protocol):
    """The policy's tokenizer, as far as a task may need it to cut prompts to a number of tokens."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, token_ids: Sequence[int]) -> str: ...


class Task(ABC):
    """Prompts, opponents at evaluation, and the words in which an oracle is asked.

    Constructed with the parameters of the spec's `[task]` table as keyword arguments; raises SpecError for what it does
    not know and for a source that is not there, with the command that would provide it.
    """

    summary: ClassVar[str]
    template: ClassVar[str]
    opponent: ClassVar[Literal["reference", "human"]]

    @abstractmethod
    def prompts(self, split: Split, tokenizer: Tokenizer) -> Sequence[Prompt]:
        """All prompts of a split, in a fixed order; the two splits share no text."""

    @abstractmethod
    def bounds(self, prompt: Prompt) -> LengthBounds:
        """How long a completion of this prompt may be: a function of the prompt alone."""

    @abstractmethod
    def identity(self) -> Mapping[str, JSON]:
        """What the data are (source, checksum or revision): recorded with the run."""


class Strategy(ABC):
    """Spends M labels on candidates; sees features, never the oracle.

    Constructed with the spec's strategy parameters as keyword arguments.
    """

    summary: ClassVar[str]
    num_completions: int = 2  # K
    oversample: int | None = 1  # J: prompts drawn for each one kept by `shortlist`; None: loop.oversample of the preset
    samples_from: Literal["policy", "reference"] = "policy"

    def shortlist(self, prompts: PromptPool, keep: int, rng: np.random.Generator) -> Sequence[int]:
        """Rows of the `keep` prompts to go on with, chosen before completions exist. Default: the first ones."""
        del prompts, rng
        return range(keep)

    @abstractmethod
    def select(self, pool: CandidatePool, num_pairs: int, rng: np.random.Generator) -> Acquisition:
        """The `num_pairs` pairs to label, best first."""


class Oracle(ABC):
    """Answers comparisons. What it says is kept raw and read afterwards, so that a better reader needs no new call.

    `local` oracles are deterministic and cost nothing: a replay may compute them again.
    """

    summary: ClassVar[str]
    local: ClassVar[bool]

    @classmethod
    def defaults(cls, part: str, task: type[Task]) -> Mapping[str, JSON]:
        """Parameters that follow from being the `oracle` or the `judge` of a task, where the spec states none; they
        are written into the spec."""
        del part, task
        return {}

    def identity(self) -> Mapping[str, JSON]:
        """What answers, beyond its name and version, such as the checksum of its weights: recorded with the run."""
        return {}

    @abstractmethod
    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        """Everything that can change the answer (provider, model, parameters, texts, repeat), and nothing else."""

    @abstractmethod
    def ask(self, comparisons: Sequence[Comparison]) -> Iterable[Reply]:
        """One reply for each comparison, in order. Failures to get an answer are raised, never returned.

        An iterator may yield replies as they arrive: those before a failure are kept, and not paid for again.
        """

    @abstractmethod
    def read(self, reply: Reply) -> Reading:
        """What the raw reply says; unreadable means Verdict.INVALID. A function of the reply alone."""


class RemoteOracle(Oracle):
    """Answers one comparison a call, over a network. The harness decides how many calls run at once and for how long,
    when one is tried again, and what may be spent; the backend translates.
    """

    local: ClassVar[bool] = False

    def ask(self, comparisons: Sequence[Comparison]) -> Iterable[Reply]:
        """Not the way to ask it: raises TypeError."""
        del comparisons
        raise TypeError(f"{type(self).__name__} is asked through apl_bench.asking, which keeps limits and records")

    @abstractmethod
    async def call(self, comparison: Comparison) -> Reply:
        """One attempt, without retries of its own. Raises CallError for whatever is not an answer."""

    @abstractmethod
    def allowance(self, comparison: Comparison) -> Allowance:
        """The most that one call can use, for a reservation before it is sent; never too low."""

    async def close(self) -> None:
        """Let go of connections."""


class BatchOracle(RemoteOracle):
    """A remote oracle that also takes many comparisons at once and answers within a day, at a lower price."""

    max_batch: ClassVar[int]  # comparisons in one batch at most

    @abstractmethod
    async def submit(self, comparisons: Sequence[Comparison], token: str) -> str:
        """Send a batch, marked with `token` so that `find` knows it again; returns the provider's id of it."""

    @abstractmethod
    async def find(self, token: str) -> str | None:
        """The id of the batch that was sent with this token, after a kill between sending and noting; None if none."""

    @abstractmethod
    async def collect(self, batch_id: str) -> BatchState:
        """Where the batch is, and once it has ended its replies by position; those that failed are left out."""


class DeferredOracle(Oracle):
    """Answers when it can, in any order: people. Replies are kept as they come."""

    local: ClassVar[bool] = False

    def ask(self, comparisons: Sequence[Comparison]) -> Iterable[Reply]:
        return [reply for _, reply in sorted(self.answers(comparisons), key=itemgetter(0))]

    @abstractmethod
    def answers(self, comparisons: Sequence[Comparison]) -> Iterator[tuple[int, Reply]]:
        """Replies with the position of their comparison. Raises AwaitingLabels once no more come for now."""


class Wrapper(ABC):
    """Changes what an oracle says: noise, or several questions made into one answer. What was asked is recorded as it
    was answered; a wrapper works on what is read from the record, so that it costs no call.

    Constructed with its parameters as keyword arguments.
    """

    summary: ClassVar[str]

    def expand(self, comparison: Comparison) -> Sequence[Comparison]:
        """What to ask in the place of this comparison; by default the comparison itself."""
        return [comparison]

    @abstractmethod
    def combine(self, comparison: Comparison, readings: Sequence[Reading]) -> Reading:
        """One reading of `comparison`, in its shown order, from those of what `expand` gave, each in its own order."""


class Policy(Protocol):
    """A language model as it stands now; arrays come back as float64 on the host."""

    tokenizer: Tokenizer

    def sample(self, requests: Sequence[SampleRequest], temperature: float) -> list[Sample]:
        """One completion for each request; neither the batch size nor the other requests change it."""

    def logp(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> np.ndarray:
        """log p(completion | prompt) at temperature 1, shape (n,), nats."""


class Metered(Policy, Protocol):
    """A policy that can be told what others computed alike, and say what computing it would have taken."""

    def sampling_work(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Work:
        """What one call of `sample` takes that draws these."""

    def scoring_work(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Work:
        """What one call of `logp` would take for these now."""

    def remember(self, prompts: Sequence[Prompt], completions: Sequence[Completion], logp: np.ndarray) -> None:
        """Take these log-probabilities, shape (n,), for what `logp` returned, where it would keep that (theta_0)."""


AfterEpoch = Callable[[int, Policy, float], None]


class Engine(Protocol):
    """Owns weights and device. Policies it returns stay valid until the next `finetune` that starts from them."""

    def reference(self) -> Policy:
        """theta_0; it computes the log-probability of a completion once in a run."""

    def finetune(
        self,
        start: Policy,
        preferences: Sequence[Preference],
        training: TrainingSpec,
        stream: tuple[int | str, ...],
        after_epoch: AfterEpoch | None = None,
    ) -> tuple[Policy, TrainingReport]:
        """DPO (equation 4) from `start` on `preferences`; mini-batch order is drawn from the named stream.

        `after_epoch` is called with the epoch (from 1), the policy as it stands, and the epoch's mean loss. An epoch
        does not depend on how many there will be, so that this policy is what training of so many epochs would return.
        """

    def save(self, policy: Policy, path: Path) -> None:
        """Write the policy's weights (safetensors), atomically."""

    def load(self, path: Path) -> Policy:
        """The policy whose weights `save` wrote."""

    def identity(self) -> Mapping[str, JSON]:
        """Checksum of the weights and versions that can change a number: recorded with the run."""

    def work(self) -> Work:
        """What all its policies have done so far, training included."""

    def spared(self) -> Work:
        """What they would have done besides, had nothing been looked up that others computed."""

    def machine(self) -> Machine:
        """What it runs on; the peak is measured once, by the first call, and no result depends on it."""

    def peak_device_bytes(self) -> int | None:
        """The most memory held on an accelerator so far; None on a CPU, where it is the process's own."""

    @property
    def any_batch(self) -> bool:
        """Whether a completion and a log-probability are the same to the last bit, whatever is asked for with them."""

    def forget(self) -> None:
        """A run ended: let go of what was kept for it."""
