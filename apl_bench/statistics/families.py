"""The hypotheses that were declared before the data were seen, and Holm's correction for their number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from apl_bench.types import SpecError

ALPHA = 0.05
RULE = "Holm"


@dataclass(frozen=True, slots=True, order=True)
class Hypothesis:
    """That a strategy is as good as the baseline at this number of labels."""

    strategy: str
    num_labels: int

    @classmethod
    def parse(cls, text: str, num_labels: int) -> Self:
        """`STRATEGY` or `STRATEGY@LABELS`; `num_labels` where none is given. Raises SpecError."""
        strategy, at, labels = text.rpartition("@")
        if not at:
            return cls(text, num_labels)
        if not strategy or not labels.isdecimal():
            raise SpecError(f"the hypothesis {text!r} is not of the form STRATEGY or STRATEGY@LABELS; expected one "
                            "such as certainty@512")  # fmt: skip
        return cls(strategy, int(labels))


@dataclass(frozen=True, slots=True)
class Family:
    """Hypotheses that are tested together: with probability 1 - alpha none that is true is rejected.

    `declared` tells a family that was stated from the one that is taken where none was: every ranked strategy against
    the baseline at the last waypoint.
    """

    hypotheses: tuple[Hypothesis, ...]
    alpha: float = ALPHA
    declared: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise SpecError(f"alpha is {self.alpha}; expected a number between 0 and 1, such as {ALPHA}")
        if not self.hypotheses:
            raise SpecError("the family has no hypothesis; expected one at least, or no family, which tests each "
                            "ranked strategy at the last waypoint")  # fmt: skip
        if len(set(self.hypotheses)) < len(self.hypotheses):
            named = ", ".join(f"{one.strategy}@{one.num_labels}" for one in self.hypotheses)
            raise SpecError(f"a hypothesis stands twice in the family {named}; name each once")

    def to_table(self) -> dict[str, Any]:
        """As it stands in JSON."""
        hypotheses = [{"strategy": one.strategy, "num_labels": one.num_labels} for one in self.hypotheses]
        return {"alpha": self.alpha, "rule": RULE, "declared": self.declared, "hypotheses": hypotheses}

    @classmethod
    def of_table(cls, table: Mapping[str, Any]) -> Self:
        """From JSON, believed in nothing. Raises SpecError."""
        try:
            hypotheses = tuple(Hypothesis(one["strategy"], one["num_labels"]) for one in table["hypotheses"])
            alpha, rule = table.get("alpha", ALPHA), table.get("rule", RULE)
        except (TypeError, KeyError, AttributeError):
            raise SpecError(f"{str(table)[:200]} is no family of hypotheses; expected alpha, rule 'Holm', and "
                            "hypotheses of strategy and num_labels each") from None  # fmt: skip
        typed = all(isinstance(one.strategy, str) and type(one.num_labels) is int for one in hypotheses)
        if not typed or rule != RULE or isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
            raise SpecError(f"the family has rule {rule!r} and alpha {alpha!r}; expected rule 'Holm', alpha a number, "
                            "each strategy a text and each num_labels a whole number")  # fmt: skip
        return cls(hypotheses, float(alpha), declared=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a file of JSON: the family itself, or anything that has it under `family`. Raises SpecError."""
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SpecError(f"{path} is not JSON ({error}); expected a family of hypotheses") from None
        inner = table.get("family") if isinstance(table, dict) else None
        return cls.of_table(table if inner is None else inner)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down p-values: rejecting those of at most alpha errs in any with probability alpha at most.

    A hypothesis without a p-value (NaN) keeps none and still counts: it was declared. Equal to statsmodels'
    `multipletests`, which is not called because it collects garbage each time: 60 ms and more for three lines.
    """
    counted = np.array([1.0 if math.isnan(p) else p for p in p_values])
    order = np.argsort(counted, kind="stable")
    adjusted = np.empty(len(counted))
    adjusted[order] = np.minimum(np.maximum.accumulate(counted[order] * np.arange(len(counted), 0, -1)), 1.0)
    return [math.nan if math.isnan(p) else found for p, found in zip(p_values, adjusted.tolist(), strict=True)]
