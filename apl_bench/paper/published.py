"""Table 2 of the paper as data."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Cell:
    """A win rate as printed: mean and standard error over `num_seeds` seeds, each on the same `num_prompts` prompts."""

    mean: float
    se_seeds: float
    num_seeds: int
    num_prompts: int

    @property
    def binomial_variance(self) -> float:
        """p (1 - p): of one verdict, ties left out."""
        return self.mean * (1 - self.mean)

    @property
    def floor(self) -> float:
        """sqrt(p (1 - p) / (seeds x prompts)): the least that the standard error over seeds is to be expected to be, if
        no prompt is easier than another."""
        return math.sqrt(self.binomial_variance / (self.num_seeds * self.num_prompts))

    @property
    def smallest_two_way(self) -> float:
        """The smallest error over seeds and prompts that agrees with the printed one.

        se_seeds^2 is (seed variance + cell variance / P) / R in expectation, and p (1 - p) is at most the sum of the
        variances of prompts and cells. So the prompts have at least p (1 - p) - R P se_seeds^2, and their luck in the
        mean, which all seeds share, at least that over P. Above `se_seeds` only where that is below the floor.
        """
        shared = self.binomial_variance / self.num_prompts - self.num_seeds * self.se_seeds**2
        return math.sqrt(self.se_seeds**2 + max(0.0, shared))


@dataclass(frozen=True, slots=True)
class PublishedDifference:
    """A strategy and the baseline at some number of labels of a task."""

    task: str
    strategy: str
    num_labels: int
    ours: Cell
    baseline: Cell


@dataclass(frozen=True, slots=True)
class Table:
    """All that is compared, and where it is from."""

    source: str
    baseline: str
    num_prompts: int
    opponents: Mapping[str, str]
    differences: tuple[PublishedDifference, ...]


@cache
def table() -> Table:
    """As shipped."""
    content = tomllib.loads((files(__package__) / "table2.toml").read_text(encoding="utf-8"))
    found = tuple(difference for task in content["tasks"] for difference in _differences(task, content))
    opponents = {task["name"]: task["opponent"] for task in content["tasks"]}
    return Table(content["source"], content["baseline"], content["num_prompts"], opponents, found)


def _differences(task: Mapping[str, Any], content: Mapping[str, Any]) -> Iterator[PublishedDifference]:
    cells = {strategy["name"]: _cells(strategy, content["num_prompts"]) for strategy in task["strategies"]}
    baseline = cells.pop(content["baseline"])
    for strategy, ours in cells.items():
        for num_labels, cell, theirs in zip(task["num_labels"], ours, baseline, strict=True):
            yield PublishedDifference(task["name"], strategy, num_labels, cell, theirs)


def _cells(strategy: Mapping[str, Any], num_prompts: int) -> list[Cell]:
    numbers = zip(strategy["mean"], strategy["se_seeds"], strict=True)
    return [Cell(mean, se, strategy["num_seeds"], num_prompts) for mean, se in numbers]
