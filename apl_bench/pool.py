"""What a strategy sees: prompts and their completions, with features that are computed on first use, once, and metered.

Axes: S prompts, K completions a prompt, N entropy samples a prompt. Log-probabilities are nats at temperature 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from apl_bench.objective import implicit_reward, predictive_entropy
from apl_bench.types import Completion, LengthBounds, Pair, PairIndex, Preference, Prompt, Sample, SampleRequest

if TYPE_CHECKING:
    from apl_bench.protocols import Policy


@dataclass(slots=True)
class Meter:
    """Work done for a step, in tokens: a function of the run's spec and seed, equal on every machine."""

    num_generated: int = 0
    num_scored: int = 0

    def generated(self, samples: Sequence[Sample]) -> None:
        self.num_generated += sum(len(sample.completion.token_ids) for sample in samples)

    def scored(self, completions: Sequence[Completion]) -> None:
        self.num_scored += sum(len(completion.token_ids) for completion in completions)


@dataclass(frozen=True, slots=True)
class Models:
    """The policies a pool may use: theta_t, theta_0, and the one that candidates are sampled from."""

    policy: Policy
    reference: Policy
    sampler: Policy


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How a pool samples and scores: the seed and step that key its random numbers, temperature, K, N and beta."""

    seed: int
    step: int
    temperature: float
    num_completions: int
    num_entropy_samples: int
    beta: float


@dataclass
class History:
    """What is already labelled, with the features a strategy may want of it; L preferences, oldest first."""

    preferences: Sequence[Preference]
    _source: PromptPool

    @cached_property
    def margin_L(self) -> np.ndarray:
        """r(chosen) - r(rejected) under theta_t, shape (L,), nats."""
        prompts = [preference.prompt for preference in self.preferences]
        chosen = self._source.reward(prompts, [preference.chosen for preference in self.preferences])
        rejected = self._source.reward(prompts, [preference.rejected for preference in self.preferences])
        return np.asarray(chosen - rejected)


@dataclass
class PromptPool:
    """S prompts before any completion exists, and what can be known of them."""

    prompts: Sequence[Prompt]
    models: Models
    settings: PoolSettings
    bounds: Callable[[Prompt], LengthBounds]
    labelled: Sequence[Preference] = ()
    meter: Meter = field(default_factory=Meter)

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def entropy_S(self) -> np.ndarray:
        """Predictive entropy of each prompt (equations 6-8) from N samples at temperature 1, shape (S,), nats."""
        num = self.settings.num_entropy_samples
        samples = self._sample(self.models.policy, self.prompts, "entropy", num, 1.0)
        return predictive_entropy(np.array([sample.logp for sample in samples]).reshape(len(self), num))

    @cached_property
    def history(self) -> History:
        """The pairs bought so far that gave a preference."""
        return History(self.labelled, self)

    def reward(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> np.ndarray:
        """Implicit reward of any completions under theta_t (equation 5), shape (n,), nats.

        While theta_t is theta_0 (step 1) every reward is 0 and nothing is scored. Paper: its release ranks the noise
        that padding leaves around 0.
        """
        if not completions or self.models.policy is self.models.reference:
            return np.zeros(len(completions))
        policy_logp = self.models.policy.logp(prompts, completions)
        self.meter.scored(completions)
        return self._reward(prompts, completions, policy_logp)

    def _reward(self, prompts: Sequence[Prompt], completions: Sequence[Completion], policy_logp: Any) -> np.ndarray:
        reference_logp = self.models.reference.logp(prompts, completions)
        self.meter.scored(completions)
        return np.asarray(implicit_reward(policy_logp, reference_logp, self.settings.beta))

    def candidates(self, rows: Sequence[int]) -> CandidatePool:
        """The pool of candidates over these rows; features already computed for them are kept."""
        pool = CandidatePool(
            [self.prompts[row] for row in rows], self.models, self.settings, self.bounds, self.labelled, self.meter
        )
        if "entropy_S" in self.__dict__:
            pool.__dict__["entropy_S"] = self.entropy_S[list(rows)]
        return pool

    def _sample(
        self, sampler: Policy, prompts: Sequence[Prompt], purpose: str, num: int, temperature: float
    ) -> list[Sample]:
        """`num` completions of each prompt, prompt by prompt, each from its own named stream."""
        seed, step = self.settings.seed, self.settings.step
        requests = [
            SampleRequest(prompt, self.bounds(prompt), (seed, purpose, step, prompt.id, k))
            for prompt in prompts
            for k in range(num)
        ]
        samples = sampler.sample(requests, temperature)
        self.meter.generated(samples)
        return samples


class CandidatePool(PromptPool):
    """S prompts with K completions each, drawn when first needed and only for the prompts that need them."""

    @property
    def num_completions(self) -> int:
        """K."""
        return self.settings.num_completions

    @cached_property
    def _drawn(self) -> dict[int, tuple[Sample, ...]]:
        return {}

    @cached_property
    def _rewards(self) -> dict[int, np.ndarray]:
        return {}

    def completions(self, rows: Sequence[int]) -> list[tuple[Completion, ...]]:
        """The K completions of each of these rows."""
        missing = [row for row in dict.fromkeys(rows) if row not in self._drawn]
        if missing:
            num = self.num_completions
            prompts = [self.prompts[row] for row in missing]
            samples = self._sample(self.models.sampler, prompts, "completion", num, self.settings.temperature)
            for place, row in enumerate(missing):
                self._drawn[row] = tuple(samples[place * num : (place + 1) * num])
        return [tuple(sample.completion for sample in self._drawn[row]) for row in rows]

    @cached_property
    def completions_SK(self) -> list[tuple[Completion, ...]]:
        """Every completion: S tuples of K."""
        return self.completions(range(len(self)))

    @property
    def drawn(self) -> dict[int, tuple[Completion, ...]]:
        """The completions that exist so far, by row: what a run records."""
        return {row: tuple(sample.completion for sample in samples) for row, samples in self._drawn.items()}

    def rewards(self, rows: Sequence[int]) -> np.ndarray:
        """Implicit rewards r = beta (log p_theta_t - log p_theta_0) of these rows (equation 5), shape (rows, K), nats.

        Only the rows that are asked for are drawn and scored, each of them once. What theta_t drew needs no scoring by
        theta_t: its log-probabilities come with the samples.
        """
        missing = [row for row in dict.fromkeys(rows) if row not in self._rewards]
        if missing:
            prompts = [self.prompts[row] for row in missing for _ in range(self.num_completions)]
            flat = [completion for row in self.completions(missing) for completion in row]
            if self.models.sampler is self.models.policy is not self.models.reference:
                policy_logp = np.array([sample.logp for row in missing for sample in self._drawn[row]])
                values = self._reward(prompts, flat, policy_logp)
            else:
                values = self.reward(prompts, flat)
            self._rewards.update(zip(missing, values.reshape(len(missing), self.num_completions), strict=True))
        return np.array([self._rewards[row] for row in rows]).reshape(len(rows), self.num_completions)

    @property
    def reward_SK(self) -> np.ndarray:
        """Implicit reward of every completion, nats."""
        return self.rewards(range(len(self)))

    @property
    def log_ratio_SK(self) -> np.ndarray:
        """log p_theta_t - log p_theta_0 of every completion, nats."""
        return self.reward_SK / self.settings.beta

    @cached_property
    def length_SK(self) -> np.ndarray:
        """Number of tokens of every completion."""
        return np.array([[len(completion.token_ids) for completion in row] for row in self.completions_SK])

    @property
    def all_pairs(self) -> list[PairIndex]:
        """Every pair of different completions of one prompt: S * K (K - 1) / 2 of them."""
        columns = range(self.num_completions)
        return [PairIndex(row, i, j) for row in range(len(self)) for i in columns for j in columns if i < j]

    def margin(self, pairs: Sequence[PairIndex]) -> np.ndarray:
        """Signed margin r(first) - r(second) of any pairs, shape (len(pairs),), nats; its size is equation 9."""
        index = np.array(pairs, dtype=int).reshape(-1, 3)
        rewards, place = self.rewards(index[:, 0].tolist()), np.arange(len(index))
        return np.asarray(rewards[place, index[:, 1]] - rewards[place, index[:, 2]])

    def pairs(self, indices: Sequence[PairIndex]) -> list[Pair]:
        """The pairs themselves; draws the completions of these prompts only, where they are not there yet."""
        rows = self.completions([index.prompt for index in indices])
        return [
            Pair(self.prompts[index.prompt], row[index.first], row[index.second])
            for index, row in zip(indices, rows, strict=True)
        ]
