"""Who won on which test prompt, of every run of a submission: one letter a prompt.

Pairing rows of different submissions needs this and nothing else, and a site that is built from it opens no run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import rfc8785

from apl_bench.comparison import RecordedRun, strategy_label
from apl_bench.comparison.grouping import leaves, materials
from apl_bench.records import outcomes_of as of_rows
from apl_bench.types import SpecError, Verdict

SCHEMA = "apl-outcomes/1"
LETTERS = {1.0: "w", 0.0: "l", 0.5: "t"}
VALUES = {letter: value for value, letter in LETTERS.items()} | {"x": math.nan}
OF_VERDICT = {Verdict.FIRST: "w", Verdict.SECOND: "l", Verdict.TIE: "t", Verdict.INVALID: "x"}


def letter(outcome: float) -> str:
    """w (win), l (loss), t (tie) or x (invalid)."""
    return "x" if math.isnan(outcome) else LETTERS[outcome]


def array_of(lines: Sequence[str]) -> np.ndarray:
    """Outcomes y_RP of such lines: a run a row, a test prompt a column."""
    return np.array([[VALUES[letter] for letter in line] for line in lines])


@dataclass(frozen=True)
class Settled:
    """One strategy's outcomes at the full budget: a line of letters for each seed, prompts in order of their ids."""

    strategy: str
    by_seed: Mapping[int, str]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.by_seed)

    @property
    def y_RP(self) -> np.ndarray:
        """Shape (seeds, prompts): 1 win, 0 loss, 0.5 tie, NaN invalid."""
        return array_of(list(self.by_seed.values()))


@dataclass(frozen=True)
class Outcomes:
    """One comparison of a submission. The three checksums say what may be paired with it: the settings (all but
    strategy and seed), the data and weights, and the test prompts."""

    name: str
    settings_sha256: str
    materials_sha256: str
    prompts_sha256: str
    num_prompts: int
    num_labels: int
    rows: tuple[Settled, ...]

    def of(self, strategy: str) -> Settled | None:
        """The outcomes of a strategy, None where it is not among the rows."""
        return next((row for row in self.rows if row.strategy == strategy), None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        fields = asdict(self)
        rows = [{"strategy": row.strategy, "seeds": list(row.seeds), "outcomes": list(row.by_seed.values())}
                for row in self.rows]  # fmt: skip
        return {**fields, "rows": rows}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """What `to_dict` gave. Raises SpecError for lines of another length, or with other letters."""
        rows = [
            Settled(row["strategy"], dict(zip(row["seeds"], row["outcomes"], strict=True))) for row in fields["rows"]
        ]
        for row in rows:
            for seed, line in row.by_seed.items():
                if len(line) != fields["num_prompts"] or set(line) - set(VALUES):
                    raise SpecError(f"outcomes of {row.strategy}, seed {seed}: expected {fields['num_prompts']} of the "
                                    "letters w, l, t and x; write them anew: apl-bench leaderboard record")  # fmt: skip
        return cls(**{**fields, "rows": tuple(rows)})


def outcomes_of(name: str, runs: Sequence[RecordedRun]) -> Outcomes:
    """The outcomes at the full budget of runs that `apl_bench.comparison.compare` puts into one comparison."""
    first = runs[0]
    num_labels = first.spec.loop.waypoints[-1]
    prompts = sorted(of_rows(first.all_waypoint_rows(num_labels)))
    by_strategy: dict[str, dict[int, str]] = {}
    for run in sorted(runs, key=lambda run: (strategy_label(run.spec), run.spec.seed)):
        found = of_rows(run.all_waypoint_rows(num_labels))
        line = "".join(letter(found[prompt]) for prompt in prompts)
        by_strategy.setdefault(strategy_label(run.spec), {})[run.spec.seed] = line
    rows = tuple(Settled(strategy, by_seed) for strategy, by_seed in by_strategy.items())
    checksums = (sha256_of(dict(leaves(first.spec.to_tables()))), sha256_of(materials(first)), sha256_of(prompts))
    return Outcomes(name, *checksums, len(prompts), num_labels, rows)


def sha256_of(value: Any) -> str:
    """Of the value's canonical JSON (RFC 8785)."""
    return hashlib.sha256(rfc8785.dumps(json.loads(json.dumps(value)))).hexdigest()
