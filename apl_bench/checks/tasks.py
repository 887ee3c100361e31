"""check_task: are a task's splits apart, its prompts in one order, and its lengths possible?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import get_args

import rfc8785

from apl_bench.checks.findings import run_stages
from apl_bench.checks.toys import WordTokenizer
from apl_bench.contract import Finding
from apl_bench.protocols import Split, Task
from apl_bench.types import Prompt


class _Trial:
    """A task, and the prompts that it gives for a tokenizer of whole words, made when first needed."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @cached_property
    def splits(self) -> dict[Split, list[Prompt]]:
        return self.again()

    def again(self) -> dict[Split, list[Prompt]]:
        """Both splits, made anew."""
        tokenizer = WordTokenizer()
        return {split: list(self.task.prompts(split, tokenizer)) for split in get_args(Split)}


def check_task(task: Task | Callable[[], Task]) -> list[Finding]:
    """What is wrong with a task (an instance or a factory); its prompts are cut with a tokenizer of whole words."""
    return run_stages(_Trial(task if isinstance(task, Task) else task()), _STAGES)


def _declarations(trial: _Trial) -> Iterator[Finding]:
    for name, what in (("summary", "one line for `apl-bench list tasks`"), ("template", "the judging template's name")):
        if not getattr(trial.task, name, ""):
            yield Finding("declaration", f"{name} is missing", f"give it {what}")
    opponent = getattr(trial.task, "opponent", None)
    if opponent not in ("reference", "human"):
        yield Finding("declaration", f"opponent is {opponent!r}", "'reference' (theta_0's completions) or 'human'")


def _identity(trial: _Trial) -> Iterator[Finding]:
    try:
        rfc8785.dumps(dict(trial.task.identity()))
    except rfc8785.CanonicalizationError as error:
        seen = f"identity() has no canonical JSON: {error}"
        yield Finding("identity", seen, "say what the data are in text and numbers: a checksum, a revision")


def _prompts(trial: _Trial) -> Iterator[Finding]:
    for split, prompts in trial.splits.items():
        if not prompts or not all(prompt.text.strip() for prompt in prompts):
            yield Finding("empty", f"the split {split!r} has no prompts or empty ones", "leave out what has no text")


def _ids(trial: _Trial) -> Iterator[Finding]:
    for split, prompts in trial.splits.items():
        repeated = len(prompts) - len({prompt.id for prompt in prompts})
        if repeated:
            seen = f"{repeated} prompts of the split {split!r} share an id with another"
            yield Finding("ids", seen, "make ids from the text, such as its sha256")


def _overlap(trial: _Trial) -> Iterator[Finding]:
    train, test = trial.splits["train"], trial.splits["test"]
    texts = {prompt.text for prompt in train} & {prompt.text for prompt in test}
    ids = {prompt.id for prompt in train} & {prompt.id for prompt in test}
    if texts or ids:
        seen = f"{len(texts)} texts and {len(ids)} ids are in both splits, such as {min(texts or ids)[:60]!r}"
        yield Finding("overlap", seen, "take out of the training split what is in the test split, by text")


def _bounds(trial: _Trial) -> Iterator[Finding]:
    for prompt in (*trial.splits["train"], *trial.splits["test"]):
        bounds = trial.task.bounds(prompt)
        if not 1 <= bounds.min_new_tokens <= bounds.max_new_tokens:
            seen = f"{bounds} of the prompt {prompt.id!r}"
            yield Finding("bounds", seen, "at least 1 token, and the maximum not below the minimum")
            return
        if trial.task.bounds(replace(prompt)) != bounds:
            seen = f"the prompt {prompt.id!r} got two different lengths"
            yield Finding("bounds", seen, "make them a function of the prompt, such as a draw from a stream of its id")
            return


def _order(trial: _Trial) -> Iterator[Finding]:
    if trial.again() != trial.splits:
        seen = "asking for the prompts again gave others, or the same in another order"
        yield Finding("order", seen, "sort them by id; do not go through a set")


def _human_completions(trial: _Trial) -> Iterator[Finding]:
    without = [prompt.id for prompt in trial.splits["test"] if not prompt.human_completion]
    if trial.task.opponent == "human" and without:
        seen = f"{len(without)} test prompts have no human completion, such as {without[0]!r}"
        yield Finding("human", seen, "the opponent at evaluation is human: give one to each test prompt")


_STAGES = ((_declarations, _identity), (_prompts,), (_ids, _overlap, _bounds, _order, _human_completions))
