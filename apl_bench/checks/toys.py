"""Toy policies for the conformance kit and for tests: two words, independent places, every number in closed form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from apl_bench.pool import CandidatePool, Models, PoolSettings, PromptPool
from apl_bench.protocols import Policy, Strategy, Tokenizer
from apl_bench.randomness import stream
from apl_bench.types import Completion, LengthBounds, Preference, Prompt, Sample, SampleRequest

Logits: TypeAlias = Callable[[Prompt, int], np.ndarray]

NUM_TOKENS = 16
_BAD, _GOOD = 0, 1


class WordTokenizer:
    """Words with the white space before them; new words get the next number, so that nothing is ever lost."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words = list(words)
        self._ids = {word: number for number, word in enumerate(self._words)}

    def encode(self, text: str) -> list[int]:
        return [self._id(word) for word in re.findall(r"\s*\S+|\s+", text)]

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(self._words[number] for number in token_ids)

    def _id(self, word: str) -> int:
        if word not in self._ids:
            self._ids[word] = len(self._words)
            self._words.append(word)
        return self._ids[word]


class ToyPolicy:
    """Writes " good" with probability sigmoid(logit of the place), else " bad", up to the longest length allowed.

    `logits(prompt, n)` gives the logits of the first n places, shape (n,). A token of any other word counts as " bad".
    """

    def __init__(self, logits: Logits) -> None:
        self._logits = logits
        self.tokenizer: Tokenizer = WordTokenizer((" bad", " good"))

    def sample(self, requests: Sequence[SampleRequest], temperature: float) -> list[Sample]:
        return [self._draw(request, temperature) for request in requests]

    def logp(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> np.ndarray:
        rows = zip(prompts, completions, strict=True)
        return np.array([self._logp(prompt, completion.token_ids) for prompt, completion in rows])

    def entropy(self, prompt: Prompt, num_tokens: int) -> float:
        """The exact entropy of a completion of this many tokens, nats: the sum of its places' binary entropies."""
        logits = self._logits(prompt, num_tokens)
        p_good = np.exp(_log_sigmoid(logits))
        return float(-(p_good * _log_sigmoid(logits) + (1 - p_good) * _log_sigmoid(-logits)).sum())

    def _draw(self, request: SampleRequest, temperature: float) -> Sample:
        logits = self._logits(request.prompt, request.bounds.max_new_tokens)
        is_good = stream(*request.stream).random(len(logits)) < np.exp(_log_sigmoid(logits / temperature))
        token_ids = tuple(np.where(is_good, _GOOD, _BAD).tolist())
        completion = Completion(self.tokenizer.decode(token_ids), token_ids, finished=False)
        return Sample(completion, self._logp(request.prompt, token_ids))

    def _logp(self, prompt: Prompt, token_ids: Sequence[int]) -> float:
        logits = self._logits(prompt, len(token_ids))
        return float(_log_sigmoid(np.where(np.equal(token_ids, _GOOD), logits, -logits)).sum())


class Reversed:
    """A policy that draws the K completions of a prompt in the opposite order; entropy samples stay as they are."""

    def __init__(self, policy: Policy, num_completions: int) -> None:
        self._policy = policy
        self._last = num_completions - 1
        self.tokenizer: Tokenizer = policy.tokenizer

    def sample(self, requests: Sequence[SampleRequest], temperature: float) -> list[Sample]:
        return self._policy.sample([self._reverse(request) for request in requests], temperature)

    def logp(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> np.ndarray:
        return self._policy.logp(prompts, completions)

    def _reverse(self, request: SampleRequest) -> SampleRequest:
        *name, number = request.stream
        if "completion" not in name:
            return request
        return replace(request, stream=(*name, self._last - int(number)))


@dataclass(frozen=True, slots=True)
class Scene:
    """Prompts, theta_t, theta_0 and the labels so far: what a step's pool is made of."""

    prompts: tuple[Prompt, ...]
    theta: Policy
    theta_0: Policy
    labelled: tuple[Preference, ...] = ()

    def prompt_pool(self, strategy: Strategy, step: int = 1) -> PromptPool:
        """The prompts as `strategy` would see them before completions exist."""
        settings = PoolSettings(
            seed=0,
            step=step,
            temperature=1.0,
            num_completions=strategy.num_completions,
            num_entropy_samples=4,
            beta=0.2,
        )
        sampler = self.theta if strategy.samples_from == "policy" else self.theta_0
        models = Models(self.theta, self.theta_0, sampler)
        return PromptPool(self.prompts, models, settings, _bounds, self.labelled)

    def pool(self, strategy: Strategy, step: int = 1) -> CandidatePool:
        """All of the prompts as candidates."""
        return self.prompt_pool(strategy, step).candidates(range(len(self.prompts)))

    def permuted(self, order: Sequence[int]) -> Scene:
        """The same prompts in another order."""
        return replace(self, prompts=tuple(self.prompts[row] for row in order))

    def exchanged(self, num_completions: int) -> Scene:
        """The same completions in the opposite order."""
        return replace(
            self, theta=Reversed(self.theta, num_completions), theta_0=Reversed(self.theta_0, num_completions)
        )


def different(num_prompts: int) -> Scene:
    """Everything differs: theta_t has moved away from theta_0, no two features are equal, four pairs are labelled."""
    theta_0 = ToyPolicy(noise("theta_0"))
    theta = ToyPolicy(lambda prompt, num: noise("theta_0")(prompt, num) + noise("theta")(prompt, num))
    prompts = tuple(Prompt(f"toy-{number}", f"The film number {number} was") for number in range(num_prompts))
    labelled = tuple(_preference(Prompt(f"old-{number}", f"An old film {number}"), theta_0) for number in range(4))
    return Scene(prompts, theta, theta_0, labelled)


def alike(num_prompts: int) -> Scene:
    """Nothing differs, as at step 1 and more so: each text, length, entropy (0) and margin (0) is the same."""
    certain = ToyPolicy(lambda _prompt, num: np.full(num, 50.0))
    return Scene(tuple(Prompt(f"toy-{number}", "The film was") for number in range(num_prompts)), certain, certain)


def flat_and_peaked(num_prompts: int) -> Scene:
    """Rows 0, 2, ... leave the policy undecided at every token (11 nats); on rows 1, 3, ... it is sure (0.3 nats)."""
    scene = different(num_prompts)
    peaked = {prompt.id for prompt in scene.prompts[1::2]}

    def logits(prompt: Prompt, num: int) -> np.ndarray:
        small = noise("theta")(prompt, num) / 10
        return small + 6.0 if prompt.id in peaked else small

    return replace(scene, theta=ToyPolicy(logits))


def noise(name: str) -> Logits:
    """Standard normal logits from the stream of `name` and the prompt."""
    return lambda prompt, num: stream("toy", name, prompt.id).normal(size=num)


def _bounds(_prompt: Prompt) -> LengthBounds:
    return LengthBounds(NUM_TOKENS, NUM_TOKENS)


def _preference(prompt: Prompt, policy: ToyPolicy) -> Preference:
    requests = [SampleRequest(prompt, _bounds(prompt), (0, "labelled", prompt.id, k)) for k in range(2)]
    chosen, rejected = (sample.completion for sample in policy.sample(requests, 1.0))
    return Preference(prompt, chosen, rejected, step=0)


def _log_sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(-np.logaddexp(0.0, -logits))
