"""Loss and win rate against epochs at given numbers of labels (figure 6 of the paper): how epochs are chosen.

Labels are bought step by step as in Algorithm 1, all of them with theta_0, so that a larger number of labels contains a
smaller one of the same seed. One training for each number of labels passes through all numbers of epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from apl_bench.acquisition import Step, acquire
from apl_bench.clock import Clock
from apl_bench.comparison import Beside
from apl_bench.evaluation import Evaluation
from apl_bench.experiment import Experiment
from apl_bench.journal import Journal
from apl_bench.judging import Judged
from apl_bench.objective import dpo_loss, implicit_reward
from apl_bench.protocols import Policy
from apl_bench.records import RunWriter, file_name, outcomes_of, read_jsonl, to_json, write_atomically
from apl_bench.spec import RunSpec, require
from apl_bench.statistics import Estimate, estimate, paired_difference, win_rate
from apl_bench.summary import summarise_waypoint, tally
from apl_bench.types import Preference, SpecError

HELD_OUT_STEP = 0  # step 1 takes the first prompts of a seed's permutation, so step 0 the last ones


@dataclass(frozen=True)
class Grid:
    """Where to measure: increasing numbers of labels and of epochs; and whether a step of labels is held out, to see
    the loss on pairs that nothing was trained on."""

    labels: tuple[int, ...]
    epochs: tuple[int, ...]
    is_held_out: bool

    def __post_init__(self) -> None:
        for name, values in (("--labels", self.labels), ("--epochs", self.epochs)):
            is_list = bool(values) and values[0] >= 1 and list(values) == sorted(set(values))
            require(is_list, name, list(values), "increasing numbers from 1 on")

    def steps(self, labels_per_step: int) -> list[int]:
        """The steps to buy. Raises SpecError where a number of labels is not made of whole ones."""
        for num in self.labels:
            require(num % labels_per_step == 0, "--labels", num,
                    f"multiples of loop.labels_per_step = {labels_per_step}, as steps buy them")  # fmt: skip
        held_out = [HELD_OUT_STEP] if self.is_held_out else []
        return [*held_out, *range(1, self.labels[-1] // labels_per_step + 1)]


def settings_of(spec: RunSpec) -> RunSpec:
    """The spec without what the grid says: budget, waypoints and epochs stand at their least, whatever they were.

    Raises SpecError for a regime in which a step does not train from theta_0.
    """
    require(spec.loop.regime == "restart", "loop.regime", spec.loop.regime,
            "restart, as converge trains from theta_0 on all labels: in the other regimes the epochs of a step add to "
            "those of the steps before it")  # fmt: skip
    least = spec.loop.labels_per_step
    loop = replace(spec.loop, budget=least, waypoints=(least,))
    return replace(spec, loop=loop, training=replace(spec.training, epochs=1))


def folder_of(root: Path, spec: RunSpec) -> Path:
    """<root>/<task>-<preset>/converge/<strategy>-<hash8>, of the settings without the seed."""
    settings = replace(settings_of(spec), seed=0).identity[:8]
    name = file_name(f"{spec.task.name}-{spec.preset}")
    return root / name / "converge" / file_name(f"{spec.strategy.name}-{settings}")


def seed_path(root: Path, spec: RunSpec) -> Path:
    """A seed's folder in `folder_of`."""
    return folder_of(root, spec) / f"seed-{spec.seed:03d}"


class Record(RunWriter):
    """A seed's folder: settings.json, steps/, epochs/<labels>/<epoch>.jsonl, judgments.jsonl, events.jsonl.

    It is no run directory, and its manifest has another name, so that nothing that looks for runs finds one here.
    """

    manifest_name: ClassVar[str] = "settings.json"

    def lacks_steps(self, grid: Grid, labels_per_step: int) -> list[int]:
        """The steps that are to be bought yet."""
        return [step for step in grid.steps(labels_per_step) if self.step_rows(step) is None]

    def lacks_epochs(self, num_labels: int, grid: Grid) -> list[int]:
        """The epochs that are to be measured yet, those without a held-out loss among them where it is wanted."""
        return [epoch for epoch in grid.epochs if not self._has(num_labels, epoch, grid.is_held_out)]

    def lacks(self, grid: Grid, labels_per_step: int) -> bool:
        """Whether anything of the grid is to be done yet."""
        missing = [self.lacks_steps(grid, labels_per_step), *(self.lacks_epochs(num, grid) for num in grid.labels)]
        return any(missing)

    def _has(self, num_labels: int, epoch: int, is_held_out: bool) -> bool:
        path = self._epoch_path(num_labels, epoch)
        return path.exists() and not (is_held_out and read_jsonl(path)[0]["num_held_out"] is None)

    def epoch_rows(self, num_labels: int, epoch: int) -> list[dict[str, Any]]:
        """The rows of what was measured; SpecError where the file is missing."""
        path = self._epoch_path(num_labels, epoch)
        return self._there(read_jsonl(path) if path.exists() else None, str(path.relative_to(self.path)))

    def write_epoch(self, epoch: int, rows: Sequence[Mapping[str, Any]], judged: Sequence[Judged]) -> None:
        """Record an evaluation: its judgments first, then its rows, whole."""
        self._add_judgments(judged)
        write_atomically(self._epoch_path(rows[0]["num_labels"], epoch), "".join(to_json(row) + "\n" for row in rows))

    def _epoch_path(self, num_labels: int, epoch: int) -> Path:
        return self.path / "epochs" / f"{num_labels:04d}" / f"{epoch:04d}.jsonl"


@dataclass(frozen=True)
class Measured:
    """What training said after an epoch: the epoch's mean loss, and that on held-out pairs where there are any."""

    epoch: int
    loss: float
    held_out_loss: float | None
    num_held_out: int | None


class Diary(Journal):
    """A journal that keeps epochs in place of waypoints."""

    def __init__(self, record: Record, clock: Clock, listen: Callable[[dict[str, Any]], None] | None = None) -> None:
        super().__init__(record, clock, listen)
        self._record = record

    def measured(self, measured: Measured, evaluated: Step) -> None:
        """Record an epoch and what its policy was worth, and tell."""
        head, *rows = evaluated.rows
        rows = [{**head, "kind": "epoch", **asdict(measured)}, *rows]
        with self._clock.stage("disk"):
            self._record.write_epoch(measured.epoch, rows, evaluated.judged)
        self._emit("epoch", **asdict(measured), **summarise_waypoint(head["num_labels"], rows))


def measure(experiment: Experiment, grid: Grid, record: Record, diary: Diary) -> None:
    """Buy, train and evaluate what the record lacks of the grid.

    Raises SpecError where there are not enough prompts, or no label gave a preference.
    """
    require_prompts(experiment, grid)
    theta_0, size = experiment.materials.engine.reference(), experiment.spec.loop.labels_per_step
    bought: dict[int, list[Preference]] = {}
    for step in grid.steps(size):
        labelled = [item for before, items in bought.items() if before != HELD_OUT_STEP for item in items]
        if record.step_rows(step) is None:
            diary.step(step, lambda: acquire(experiment, step, theta_0, labelled))  # noqa: B023 - called at once
        bought[step] = record.preferences(step)
    held_out = bought.pop(HELD_OUT_STEP, None)
    evaluation = Evaluation(experiment)
    for num_labels in grid.labels:
        missing = record.lacks_epochs(num_labels, grid)
        if missing:
            training = _Training(experiment, evaluation, diary, num_labels, held_out)
            training.run([item for step in range(1, num_labels // size + 1) for item in bought[step]], missing)


def require_prompts(experiment: Experiment, grid: Grid) -> None:
    """Raise SpecError where a prompt would come twice: what is held out would be trained on."""
    spec, num_train = experiment.spec, len(experiment.materials.train)
    size, num_steps = spec.loop.labels_per_step, num_train // experiment.num_drawn
    most = size * (num_steps - grid.is_held_out)
    require(grid.labels[-1] <= most, "--labels", grid.labels[-1],
            f"at most {most}: the task has {num_train} training prompts, and each step of {size} labels, that which is "
            f"held out among them, draws {experiment.num_drawn} of its own")  # fmt: skip


@dataclass(frozen=True)
class _Training:
    """One training from theta_0, looked at after each wanted epoch."""

    experiment: Experiment
    evaluation: Evaluation
    diary: Diary
    num_labels: int
    held_out: Sequence[Preference] | None

    def run(self, labelled: Sequence[Preference], epochs: Sequence[int]) -> None:
        """Train on `labelled` for as many epochs as the last of `epochs`; SpecError where there is nothing to learn."""
        if not labelled:
            raise SpecError(f"the {self.num_labels} labels gave no preference: all are ties or could not be read, so "
                            "there is nothing to train on; look at the oracle, or take more labels")  # fmt: skip
        spec, engine = self.experiment.spec, self.experiment.materials.engine
        stream = (spec.seed, "training", self.num_labels // spec.loop.labels_per_step)  # as the run's step is called

        def after_epoch(epoch: int, theta: Policy, loss: float) -> None:
            if epoch in epochs:
                self.diary.measured(self._measured(epoch, theta, loss), self.evaluation.at(theta, self.num_labels))

        engine.finetune(engine.reference(), labelled, replace(spec.training, epochs=epochs[-1]), stream, after_epoch)

    def _measured(self, epoch: int, theta: Policy, loss: float) -> Measured:
        if self.held_out is None:
            return Measured(epoch, loss, None, None)
        theta_0, beta = self.experiment.materials.engine.reference(), self.experiment.spec.training.beta
        return Measured(epoch, loss, mean_loss(theta, theta_0, self.held_out, beta), len(self.held_out))


def mean_loss(theta: Policy, theta_0: Policy, preferences: Sequence[Preference], beta: float) -> float | None:
    """Mean DPO loss (equation 4) of labelled pairs, nats; None for no pair."""
    if not preferences:
        return None
    prompts = [preference.prompt for preference in preferences]
    sides = ([item.chosen for item in preferences], [item.rejected for item in preferences])
    rewards = [implicit_reward(theta.logp(prompts, side), theta_0.logp(prompts, side), beta) for side in sides]
    return float(dpo_loss(*rewards).mean())


@dataclass(frozen=True)
class Point:
    """A number of labels and of epochs, over the seeds: the mean loss of the epoch's mini-batches, each before its
    update; the loss on held-out pairs after the epoch; the win rate after it, and what stands beside it."""

    num_labels: int
    epoch: int
    loss: Estimate
    held_out_loss: Estimate | None
    win_rate: Estimate
    beside: Beside
    share_invalid: float
    is_sound: bool


@dataclass(frozen=True)
class Choice:
    """The epochs of the best win rate, and the fewest that come within one standard error of it; `difference` is the
    win rate of the fewest minus the best, paired by seed and test prompt, None where they are the same."""

    best: int
    fewest: int
    difference: Estimate | None


@dataclass(frozen=True)
class Curve:
    """The points of a number of labels, by epoch; no choice where no verdict could be read."""

    num_labels: int
    points: tuple[Point, ...]
    choice: Choice | None


def curves(records: Sequence[Record], grid: Grid) -> list[Curve]:
    """What is recorded of the grid, over these seeds; SpecError where they were not made with the same."""
    first, *others = records
    made_with = {part: value for part, value in first.manifest.items() if part not in ("identity", "spec")}
    for record in others:
        record.refuse_other(made_with)
    return [_curve(records, grid, num_labels) for num_labels in grid.labels]


def _curve(records: Sequence[Record], grid: Grid, num_labels: int) -> Curve:
    rows_ER = [[record.epoch_rows(num_labels, epoch) for record in records] for epoch in grid.epochs]
    y_ERP = np.array([[list(outcomes_of(rows).values()) for rows in rows_R] for rows_R in rows_ER])  # the same prompts
    points = (_point(num_labels, *item) for item in zip(grid.epochs, rows_ER, y_ERP, strict=True))
    return Curve(num_labels, tuple(points), choose(grid.epochs, y_ERP))


def _point(num_labels: int, epoch: int, rows_R: Sequence[Sequence[dict[str, Any]]], y_RP: np.ndarray) -> Point:
    summaries = [summarise_waypoint(num_labels, rows) for rows in rows_R]
    held_out = [rows[0]["held_out_loss"] for rows in rows_R]
    return Point(
        num_labels=num_labels,
        epoch=epoch,
        loss=_over_seeds([rows[0]["loss"] for rows in rows_R]),
        held_out_loss=None if None in held_out else _over_seeds(held_out),
        win_rate=estimate(y_RP),
        beside=Beside.over(summaries),
        share_invalid=float(np.isnan(y_RP).mean()),
        is_sound=all(tally(rows).sound for rows in rows_R),
    )


def _over_seeds(values: Sequence[float]) -> Estimate:
    """One number a seed: there is no luck of prompts to tell from that of seeds."""
    return estimate(np.array(values, dtype=float)[:, np.newaxis])


def choose(epochs: Sequence[int], y_ERP: np.ndarray) -> Choice | None:
    """The epochs that a reader would choose, from outcomes of E numbers of epochs, R seeds and P test prompts.

    Within one standard error: of the paired difference, as all epochs answer the same prompts with the same seeds.
    """
    rates = [win_rate(y_RP) for y_RP in y_ERP]
    if any(map(math.isnan, rates)):
        return None
    best = int(np.argmax(rates))  # the first of equals
    for epoch, y_RP in zip(epochs[:best], y_ERP[:best], strict=True):
        difference = paired_difference(y_RP, y_ERP[best]).estimate
        if difference.mean + difference.se_two_way >= 0:
            return Choice(epochs[best], epoch, difference)
    return Choice(epochs[best], epochs[best], None)
