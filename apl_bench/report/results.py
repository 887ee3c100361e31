"""A comparison as pages and figures need it, read from its JSON: the schema of apl_bench/comparison_json.py.

A submission's results.json and a comparison that was just made are read alike. None stands where there is no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from apl_bench.types import SpecError

SCHEMA = "apl-comparison/1"


@dataclass(frozen=True, slots=True)
class Value:
    """A mean with its interval of 95 % and both standard errors, each None where the data cannot give one."""

    mean: float | None
    low: float | None
    high: float | None
    se_two_way: float | None
    se_seeds: float | None

    @classmethod
    def read(cls, table: Mapping[str, Any], name: str = "mean") -> Self:
        """From a table that holds the mean under `name`."""
        low, high = table.get("interval") or (None, None)
        return cls(table[name], low, high, table.get("se_two_way"), table.get("se_seeds"))


@dataclass(frozen=True, slots=True)
class Difference:
    """A strategy minus the baseline, on the seeds that both have.

    `detectable` is the smallest true difference that so many seeds find with probability .8, corrected for the number
    of hypotheses. `p` is of sign flips over seeds, on these test prompts; `p_two_way` has the luck of the prompts too.
    """

    value: Value
    p: float | None
    p_two_way: float | None
    p_holm: float | None
    detectable: float | None
    num_seeds: int | None

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Self:
        """From a table of the schema."""
        names = ("p", "p_two_way", "p_holm", "smallest_detectable_holm", "num_seeds")
        return cls(Value.read(table), *(table.get(name) for name in names))


def _difference(table: Mapping[str, Any] | None) -> Difference | None:
    """None for null."""
    return None if table is None else Difference.read(table)


@dataclass(frozen=True, slots=True)
class Point:
    """A strategy at a waypoint. `beside` holds kl, mean_length, repetition and perplexity."""

    num_labels: int
    rate: Value
    difference: Difference | None
    worst: float | None
    best: float | None
    share_invalid: float | None
    length_controlled: float | None
    beside: Mapping[str, float | None]

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Self:
        """From an entry of a curve."""
        controlled = table.get("length_controlled") or {}
        return cls(
            table["num_labels"],
            Value.read(table, "win_rate"),
            _difference(table.get("difference")),
            table.get("win_rate_worst"),
            table.get("win_rate_best"),
            table.get("share_invalid"),
            controlled.get("win_rate"),
            table["beside"],
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """What a strategy bought in a step, over its seeds: figure 3 of the paper in 20 bins, and the share on the wrong
    side of a half (None where no label had a margin)."""

    step: int
    counts: tuple[int, ...]
    share_wrong: float | None


@dataclass(frozen=True, slots=True)
class Labels:
    """A number of labels with its interval, an end of which is None beyond the budget; `is_censored`: the number itself
    is."""

    num_labels: float | None
    low: float | None
    high: float | None
    is_censored: bool
    target: float | None

    @classmethod
    def read(cls, table: Mapping[str, Any] | None) -> Self | None:
        """None for null."""
        if table is None:
            return None
        low, high = table.get("interval") or (None, None)
        return cls(table.get("num_labels"), low, high, bool(table.get("censored")), table.get("target"))


@dataclass(frozen=True, slots=True)
class Arm:
    """A strategy over its seeds. `rank` is an interval of ranks, None where it is not ranked, and why. `at_kl` holds
    its differences from the baseline by KL, nats a completion; `learned` what the bought labels say of the implicit
    reward and of the oracle, beside `acquired`."""

    strategy: str
    seeds: tuple[int, ...]
    rank: tuple[int, int] | None
    unranked_because: str | None
    tied_with: tuple[str, ...]
    curve: tuple[Point, ...]
    area: Value | None
    area_difference: Difference | None
    labels_to_target: Labels | None
    labels_saved: Labels | None
    at_kl: Mapping[float, Difference]
    acquired: tuple[Batch, ...]
    learned: Mapping[str, float | None]
    costs: Mapping[str, float | None]

    @property
    def last(self) -> Point:
        """At the last waypoint."""
        return self.curve[-1]

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Self:
        """From an entry of `rows`."""
        area, rank = table.get("area"), table.get("rank")
        steps = table["acquired"]["by_step"]
        return cls(
            strategy=table["strategy"],
            seeds=tuple(table["seeds"]),
            rank=(rank[0], rank[1]) if rank else None,
            unranked_because=table.get("unranked_because"),
            tied_with=tuple(table.get("tied_with", ())),
            curve=tuple(map(Point.read, table["curve"])),
            area=Value.read(area) if area else None,
            area_difference=_difference(table.get("area_difference")),
            labels_to_target=Labels.read(table.get("labels_to_target")),
            labels_saved=Labels.read(table.get("labels_saved")),
            at_kl={float(found["kl"]): Difference.read(found) for found in table.get("at_equal_kl", ())},
            acquired=tuple(Batch(step["step"], tuple(step["histogram"]), step["share_wrong"]) for step in steps),
            learned={name: value for name, value in table["acquired"].items() if name != "by_step"},
            costs=table.get("costs", {}),
        )


@dataclass(frozen=True, slots=True)
class Results:
    """A comparison: strategies in the order of its rows."""

    name: str
    task: str
    preset: str
    regime: str
    num_prompts: int
    baseline: str
    notes: tuple[str, ...]
    family: Mapping[str, Any] | None
    settings: Mapping[str, Any]
    arms: tuple[Arm, ...]

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Self:
        """From the JSON of a comparison. Raises SpecError for another schema."""
        if table.get("schema") != SCHEMA:
            raise SpecError(f"the comparison is of schema {table.get('schema')!r}; expected {SCHEMA!r}")
        return cls(
            name=table["name"],
            task=table["task"],
            preset=table["preset"],
            regime=table["regime"],
            num_prompts=table["num_prompts"],
            baseline=table["baseline"],
            notes=tuple(table["notes"]),
            family=table.get("family"),
            settings=table["settings"],
            arms=tuple(map(Arm.read, table["rows"])),
        )

    @property
    def baseline_arm(self) -> Arm | None:
        """The strategy from which differences are taken, if it is there."""
        return next((arm for arm in self.arms if arm.strategy == self.baseline), None)
