"""Small fakes that tests share: policies whose every number is known beforehand, an oracle, a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from apl_bench.checks.toys import NUM_TOKENS, ToyPolicy, WordTokenizer
from apl_bench.pool import CandidatePool, Models, PoolSettings, PromptPool
from apl_bench.protocols import Oracle, Policy, Split, Task, Tokenizer
from apl_bench.types import (
    JSON,
    Comparison,
    Completion,
    LengthBounds,
    Preference,
    Prompt,
    Reading,
    Reply,
    Sample,
    SampleRequest,
    Verdict,
)

FakePolicy = ToyPolicy  # two words, independent places: see its docstring for the closed form
FakeTokenizer = WordTokenizer
BOUNDS = LengthBounds(NUM_TOKENS, NUM_TOKENS)
SETTINGS = PoolSettings(seed=0, step=1, temperature=1.0, num_completions=2, num_entropy_samples=4, beta=1.0)


def constant(logit: float) -> FakePolicy:
    """The same logit of " good" at every place of every prompt."""
    return FakePolicy(lambda _prompt, num: np.full(num, logit))


def prompts(num: int) -> list[Prompt]:
    return [Prompt(f"p{number}", f"Film {number} was") for number in range(num)]


class TablePolicy:
    """Completion k of prompt i has log-probability `logp_SK[i][k]`; an entropy sample has minus `entropy_S[i]`."""

    def __init__(self, logp_SK: Sequence[Sequence[float]], entropy_S: Sequence[float]) -> None:
        self._logp = {f"p{row}": values for row, values in enumerate(logp_SK)}
        self._entropy = {f"p{row}": value for row, value in enumerate(entropy_S)}
        self.tokenizer: Tokenizer = FakeTokenizer()
        self.num_sampled = 0
        self.num_scored = 0

    def sample(self, requests: Sequence[SampleRequest], temperature: float) -> list[Sample]:
        self.num_sampled += len(requests)
        return [self._draw(request) for request in requests]

    def logp(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> np.ndarray:
        self.num_scored += len(completions)
        rows = zip(prompts, completions, strict=True)
        return np.array([self._logp[prompt.id][completion.token_ids[0]] for prompt, completion in rows])

    def _draw(self, request: SampleRequest) -> Sample:
        number = int(request.stream[-1])
        completion = Completion(f" {number}", (number,), finished=True)
        place = request.prompt.id
        return Sample(completion, -self._entropy[place] if "entropy" in request.stream else self._logp[place][number])


def table_pool(reward_SK: Sequence[Sequence[float]], entropy_S: Sequence[float] = ()) -> CandidatePool:
    """A pool with these rewards (beta is 1) and entropies."""
    num = len(reward_SK)
    theta = TablePolicy(reward_SK, entropy_S or [0.0] * num)
    theta_0 = TablePolicy([[0.0] * len(row) for row in reward_SK], [0.0] * num)
    return pool(theta, theta_0, num, num_completions=len(reward_SK[0]))


def pool(
    theta: Policy, theta_0: Policy, num: int, num_completions: int = 2, labelled: Sequence[Preference] = ()
) -> CandidatePool:
    """All of `num` fake prompts as candidates; seed 0, step 1, temperature 1, N = 4, beta 1, 16 tokens."""
    return prompt_pool(theta, theta_0, prompts(num), num_completions, labelled).candidates(range(num))


def prompt_pool(
    theta: Policy,
    theta_0: Policy,
    rows: Sequence[Prompt],
    num_completions: int = 2,
    labelled: Sequence[Preference] = (),
) -> PromptPool:
    settings = replace(SETTINGS, num_completions=num_completions)
    models = Models(theta, theta_0, theta)
    return PromptPool(rows, models, settings, lambda _prompt: BOUNDS, labelled)


class FakeOracle(Oracle):
    """Likes " good" and dislikes " bad": the text with more of the first less the second; equal counts are a tie."""

    summary: ClassVar[str] = "counts words"
    local: ClassVar[bool] = True

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        texts = [comparison.pair.prompt.text, *comparison.shown]
        return {"model": "counts words", "texts": texts, "repeat": comparison.repeat}

    def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
        return [self._reply(comparison) for comparison in comparisons]

    def read(self, reply: Reply) -> Reading:
        return Reading({"1": Verdict.FIRST, "2": Verdict.SECOND, "=": Verdict.TIE}.get(reply.raw, Verdict.INVALID))

    def _reply(self, comparison: Comparison) -> Reply:
        first, second = (text.count(" good") - text.count(" bad") for text in comparison.shown)
        return Reply("=" if first == second else "1" if first > second else "2", model="counts words")


class FakeTask(Task):
    """Twelve training prompts, six test prompts; theta_0 is the opponent."""

    summary: ClassVar[str] = "twelve films and six"
    template: ClassVar[str] = "paper-sentiment-v1"
    opponent: ClassVar[Literal["reference", "human"]] = "reference"

    def prompts(self, split: Split, tokenizer: Tokenizer) -> Sequence[Prompt]:
        numbers = range(12) if split == "train" else range(12, 18)
        return [Prompt(f"film-{number:02}", f"Film {number} was", " good bad") for number in numbers]

    def bounds(self, prompt: Prompt) -> LengthBounds:
        return LengthBounds(2, 4 + len(prompt.text) % 3)

    def identity(self) -> Mapping[str, JSON]:
        return {"dataset": "films"}
