"""What a comparison is made of: frozen values. docs/statistics.md explains every number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np

from apl_bench.judgments.record import Record
from apl_bench.spec import RunSpec

if TYPE_CHECKING:  # scipy and statsmodels are large, and whoever reads runs needs neither
    from apl_bench.statistics import Bounds, Estimate, Family
    from apl_bench.statistics.calibration import Calibration
    from apl_bench.statistics.labels import Labels
    from apl_bench.statistics.logistic import LengthControlled

BASELINE = "random"


class RecordedRun(Protocol):
    """A complete run, as far as a comparison reads it: see apl_bench.records.Run."""

    @property
    def path(self) -> Path: ...

    @property
    def spec(self) -> RunSpec: ...

    @property
    def manifest(self) -> Mapping[str, Any]: ...

    @property
    def result(self) -> Mapping[str, Any]: ...

    def all_step_rows(self, step: int) -> list[dict[str, Any]]: ...

    def all_waypoint_rows(self, num_labels: int) -> list[dict[str, Any]]: ...

    def events(self) -> list[dict[str, Any]]: ...

    def counted_judgments(self) -> Sequence[Record]: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What was decided before the runs were seen.

    `family`: the hypotheses tested together; None: every other ranked strategy against random at the last waypoint.
    `target`: the win rate that labels are counted to; None: random's own at the last waypoint. `unranked`: strategies
    that are shown and have no rank, such as controls.
    """

    family: Family | None = None
    target: float | None = None
    unranked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Beside:
    """What stands beside a win rate, mean over seeds: nats a completion, tokens, share of bigrams, e^(nats a token)."""

    kl: float | None
    mean_length: float | None
    repetition: float | None
    perplexity: float | None

    @classmethod
    def over(cls, seeds: Sequence[Mapping[str, Any]]) -> Self:
        """From each seed's summary of an evaluation."""
        return cls(*(mean([summary.get(key) for summary in seeds]) for key in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Difference:
    """Minus random, paired by seed and prompt, on the seeds that both have.

    `p_value` is the sign-flip test's, `p_two_way` that of Student's t with the two-way error; `p_holm` is the first
    after Holm's correction, None where the family does not have this hypothesis. `bounds`: with every invalid verdict
    of one gone against it and every one of random's for it, and the other way round. `detectable` is the smallest true
    difference that this many seeds find with probability .8 at the family's alpha, `detectable_holm` the same at alpha
    over the number of hypotheses; None where not even seeds that all agree would be significant.
    """

    estimate: Estimate
    sd_seeds: float
    p_value: float
    p_two_way: float
    bounds: Bounds
    p_holm: float | None = None
    detectable: float | None = None
    detectable_holm: float | None = None


@dataclass(frozen=True)
class Point:
    """A strategy at a waypoint; `by_seed` are win rates, `bounds` what invalid verdicts could have made of the rate,
    `share_first_shown` the share of decided verdicts for the text that the judge was shown first."""

    num_labels: int
    win_rate: Estimate
    bounds: Bounds
    difference: Difference | None
    beside: Beside
    share_invalid: float
    share_first_shown: float | None
    length_controlled: LengthControlled | None
    by_seed: tuple[float, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the win rate, cut off at 0 and 1."""
        low, high = self.win_rate.interval
        return (math.nan, math.nan) if math.isnan(low) else (max(low, 0.0), min(high, 1.0))


@dataclass(frozen=True)
class AtKl:
    """Minus random at an equal KL from theta_0, nats a completion."""

    kl: float
    difference: Difference


@dataclass(frozen=True)
class Standing:
    """A row's rank, from the best place that the data allow to the worst, and those it is tied with; or why it has
    none."""

    rank: tuple[int, int] | None
    tied_with: tuple[str, ...]
    unranked_because: str | None


@dataclass(frozen=True)
class Learned:
    """What the bought labels say of the implicit reward before it was trained on them, and of the oracle.

    `correlation` is the mean over batches of Spearman's correlation of the strategy's scores with the reward's errors,
    None where no batch has both.
    """

    calibration: Calibration | None
    correlation: float | None
    share_invalid: float | None
    share_first_shown: float | None


@dataclass(frozen=True)
class Costs:
    """What a run of the strategy cost, mean over its seeds; None where that was not recorded.

    `acquisition_*` are tokens that the strategy's choice took (recomputable from the steps); the others are those of
    the whole run, evaluation included, as the engine counted them: fed in sampling, scoring and training.
    `seconds` are of the machine it ran on. `cost_usd` is by list price.
    """

    num_labels: float | None
    num_judge_calls: float | None
    acquisition_generated_tokens: float | None
    acquisition_scored_tokens: float | None
    generated_tokens: float | None
    scored_tokens: float | None
    trained_tokens: float | None
    seconds: float | None
    cost_usd: float | None


@dataclass(frozen=True)
class Row:
    """A strategy over its seeds.

    `acquired[t]` holds, for each preference bought in step t + 1 by any seed, the probability that the implicit
    preference model gave to its label before it was trained on it (figure 3 of the paper). `to_target` is None where
    there is no target, `saved` where there is no random to save labels against; both are for the same target. `at_kl`
    holds each KL that all seeds of both reach.
    """

    strategy: str
    version: str | None
    seeds: tuple[int, ...]
    shared_seeds: tuple[int, ...]
    curve: tuple[Point, ...]
    area: Estimate | None
    area_difference: Difference | None
    acquired: tuple[tuple[float, ...], ...]
    standing: Standing
    to_target: Labels | None
    saved: Labels | None
    at_kl: tuple[AtKl, ...]
    learned: Learned
    costs: Costs

    @property
    def last(self) -> Point:
        """At the last waypoint."""
        return self.curve[-1]


@dataclass(frozen=True)
class Comparison:
    """Strategies of one task and preset: ranked ones first, best first, then the others by name; and what to know.

    `target` is the win rate that labels are counted to where one was stated; None: random's own at the last waypoint.
    """

    name: str
    folder: Path
    num_prompts: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    task: str
    preset: str
    regime: str
    settings: Mapping[str, Any]
    family: Family | None
    target: float | None


class Outcomes(NamedTuple):
    """Outcomes and KL of some seeds: W waypoints x R seeds x P test prompts."""

    y_WRP: np.ndarray
    kl_WR: np.ndarray


@dataclass(frozen=True)
class Arm:
    """The runs of a strategy by seed; their outcomes and the doublings of the policy's text against the opponent's: W
    waypoints x R seeds x P test prompts; KL from theta_0, NaN where it was not recorded; and for each waypoint how
    often what was shown first won, of decided ones, and how many judgments were asked for in all."""

    strategy: str
    runs: Mapping[int, RecordedRun]
    y_WRP: np.ndarray
    log_ratio_WRP: np.ndarray
    kl_WR: np.ndarray
    share_first_shown_W: tuple[float | None, ...]
    num_judge_calls: int

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.runs)

    @property
    def waypoints(self) -> tuple[int, ...]:
        return tuple(next(iter(self.runs.values())).spec.loop.waypoints)

    def on(self, seeds: Sequence[int]) -> Outcomes:
        """Some of the seeds."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return Outcomes(self.y_WRP[:, rows], self.kl_WR[:, rows])


def mean(values: Sequence[float | None]) -> float | None:
    """The mean, None where any is missing."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present and len(present) == len(values) else None


def share_wrong(probabilities: Sequence[float]) -> float | None:
    """Share of labels that the implicit preference model had the other way, undecided ones left out; None: all were."""
    decided = [probability for probability in probabilities if probability != 0.5]
    return sum(probability < 0.5 for probability in decided) / len(decided) if decided else None


def strategy_label(spec: RunSpec) -> str:
    """A strategy's name with the parameters that it was given, such as `mid(width=0.2)`."""
    params = ", ".join(f"{key}={value}" for key, value in sorted(spec.strategy.params.items()))
    return f"{spec.strategy.name}({params})" if params else spec.strategy.name


def format_seeds(seeds: Sequence[int]) -> str:
    """Seeds as people write them: 0-4, 7."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
