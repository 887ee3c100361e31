"""The kit against tasks broken on purpose."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from apl_bench.checks import check_task
from apl_bench.protocols import Split, Task, Tokenizer
from apl_bench.types import LengthBounds, Prompt
from tests.checks import codes
from tests.fakes import FakeTask


class Shown(FakeTask):
    """Its prompts changed afterwards."""

    def __init__(self, change: Callable[[Split, list[Prompt]], Sequence[Prompt]]) -> None:
        self._change = change

    def prompts(self, split: Split, tokenizer: Tokenizer) -> Sequence[Prompt]:
        return self._change(split, list(super().prompts(split, tokenizer)))


class HumanOpponent(Shown):
    opponent = "human"


class Reordered(FakeTask):
    """In another order at each call."""

    num_calls = 0

    def prompts(self, split: Split, tokenizer: Tokenizer) -> Sequence[Prompt]:
        self.num_calls += 1
        prompts = super().prompts(split, tokenizer)
        return [*prompts[self.num_calls % 5 :], *prompts[: self.num_calls % 5]]


def with_bounds(bounds: Callable[[Prompt], LengthBounds]) -> Task:
    task: Task = type("Bounded", (FakeTask,), {"bounds": lambda _self, prompt: bounds(prompt)})()
    return task


def with_attributes(**attributes: Any) -> Task:
    task: Task = type("Changed", (FakeTask,), attributes)()
    return task


def overlapping(split: Split, prompts: list[Prompt]) -> list[Prompt]:
    return [*prompts, Prompt("film-99", "Film 3 was")] if split == "test" else prompts


BROKEN_TASKS: list[tuple[str, Task]] = [
    ("declaration", with_attributes(summary="")),
    ("declaration", with_attributes(template="")),
    ("declaration", with_attributes(opponent="theta_0")),
    ("identity", with_attributes(identity=lambda _self: {"size": math.inf})),
    ("raises", Shown(lambda _, prompts: [prompts[99]])),
    ("empty", Shown(lambda split, prompts: [] if split == "test" else prompts)),
    ("empty", Shown(lambda _, prompts: [replace(prompts[0], text=" "), *prompts[1:]])),
    ("ids", Shown(lambda split, prompts: [*prompts, replace(prompts[0], text=f"Another of {split}")])),
    ("overlap", Shown(overlapping)),
    ("bounds", with_bounds(lambda _: LengthBounds(0, 4))),
    ("bounds", with_bounds(lambda _: LengthBounds(5, 4))),
    ("bounds", with_bounds(lambda _: LengthBounds(1, int(np.random.default_rng().integers(1, 2**60))))),
    ("order", Reordered()),
    ("human", HumanOpponent(lambda _, prompts: [replace(prompts[0], human_completion=None), *prompts[1:]])),
]


@pytest.mark.parametrize(("code", "task"), BROKEN_TASKS, ids=lambda value: value if type(value) is str else "")
def test_a_broken_task_is_told_what_is_wrong_and_nothing_else(code: str, task: Task) -> None:
    assert codes(check_task(task)) == [code]


def test_a_task_that_conforms() -> None:
    assert check_task(FakeTask) == []
