"""A whole acquisition step of `entropy+certainty`, against the same step put together from `generate` and TRL.

Both draw the same prompts and as many completions of the same length, score them, label as many pairs by the same local
rule, and train on these for as many epochs from the same theta_0. Ours is what a run calls: `acquire` with the shipped
strategy, then `finetune`. The other side's functions are in `step_by_hand.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from apl_bench.acquisition import Step, acquire
from apl_bench.asking.asking import Asking
from apl_bench.benchmarks import networks, shapes, step_by_hand
from apl_bench.benchmarks.plan import Contenders, Plan, Turn
from apl_bench.benchmarks.results import Race
from apl_bench.clock import Clock
from apl_bench.engine.network import Network
from apl_bench.experiment import Experiment, Materials
from apl_bench.judging import Judging, Manner, Mode, preference
from apl_bench.judgments.ledger import Ledger
from apl_bench.protocols import Engine, Oracle, Policy, Split, Task, Tokenizer
from apl_bench.registry import STRATEGIES
from apl_bench.spec import (
    EvaluationSpec,
    JudgingSpec,
    LoopSpec,
    PluginSpec,
    PolicySpec,
    RunSpec,
    SamplingSpec,
    TrainingSpec,
)
from apl_bench.types import JSON, Comparison, LengthBounds, Preference, Prompt, Reading, Reply, Verdict

STRATEGY = "entropy+certainty"
STEP, SEED = 2, 0  # at step 1 theta_t is theta_0, and there is nothing to be certain of


def measure(plan: Plan) -> Iterator[Race]:
    """One step of the shape's sizes."""
    sizes = plan.shape.step
    num_drawn, num_samples = sizes.oversample * sizes.num_prompts, sizes.num_entropy_samples
    title = (f"a step of {STRATEGY}: {sizes.num_prompts} of {num_drawn} prompts by {num_samples} samples each, "
             f"{sizes.num_labels} labels, {sizes.num_epochs} epochs")  # fmt: skip
    with tempfile.TemporaryDirectory() as name, Ledger(Path(name) / "ledger") as ledger:
        yield plan.race("step", title, contenders(plan.shape, ledger))


def contenders(shape: shapes.Shape, ledger: Ledger) -> Contenders:
    """Both on models of their own; what belongs to a run and not to a step is not measured."""
    theta_0, theta = shapes.build(shape), shapes.nudged(shapes.build(shape))
    ours = (networks.network(shape, shapes.build(shape)), networks.network(shape, shapes.nudged(theta_0)))
    sampler = theta.to(step_by_hand.dtype(shape))
    by_hand = step_by_hand.StepByHand(shape, theta_0, sampler, train_prompts(shape))
    return {
        "apl-bench": lambda: our_step(shape, *ours, ledger),
        "transformers generate + TRL": by_hand.run,
    }


class Posts(Task):
    """The shape's prompts, as words that the shape's tokenizer knows."""

    summary: ClassVar[str] = "random words"
    template: ClassVar[str] = "paper-summary-v1"
    opponent: ClassVar[Literal["reference", "human"]] = "reference"

    def __init__(self, shape: shapes.Shape) -> None:
        self._shape = shape

    def prompts(self, split: Split, tokenizer: Tokenizer) -> Sequence[Prompt]:
        del split, tokenizer
        return [Prompt(f"p{row}", shapes.text(tokens)) for row, tokens in enumerate(train_prompts(self._shape))]

    def bounds(self, prompt: Prompt) -> LengthBounds:
        del prompt
        return LengthBounds(self._shape.lengths.mean_completion, self._shape.lengths.mean_completion)

    def identity(self) -> Mapping[str, JSON]:
        return {"dataset": self.summary}


class Alphabet(Oracle):
    """Prefers the text that an alphabet has first: no time, no ties."""

    summary: ClassVar[str] = "the text that comes first in the alphabet"
    local: ClassVar[bool] = True

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        return {"model": "alphabet", "texts": list(comparison.shown), "repeat": comparison.repeat}

    def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
        return [Reply("12"[comparison.shown[0] > comparison.shown[1]], "alphabet") for comparison in comparisons]

    def read(self, reply: Reply) -> Reading:
        return Reading(Verdict.FIRST if reply.raw == "1" else Verdict.SECOND)


def train_prompts(shape: shapes.Shape) -> list[shapes.Tokens]:
    """The J * S prompts that the step draws: all there are."""
    return shapes.prompts(shape, shape.step.oversample * shape.step.num_prompts)


def our_step(shape: shapes.Shape, theta_0: Network, theta: Network, ledger: Ledger) -> Turn:
    """The step as a run makes it: theta_{t+1} from theta_0 on what was bought."""
    engine = networks.engine(shape, theta_0)
    experiment = experiment_of(shape, engine, ledger)
    step = acquire(experiment, STEP, networks.policy(shape, theta), [])
    bought = preferences(step)
    _, report = engine.finetune(engine.reference(), bought, experiment.spec.training, (SEED, "training", STEP))
    return Turn(int(step.rows[0]["num_generated"]), report.num_updates, report.epoch_losses[0])


def preferences(step: Step) -> list[Preference]:
    """What the step bought."""
    found = [preference(judged.pair, judged.verdict, STEP) for judged in step.judged]
    return [bought for bought in found if bought is not None]


def experiment_of(shape: shapes.Shape, engine: Engine, ledger: Ledger) -> Experiment:
    """What a run would be made of."""
    spec, task = spec_of(shape), Posts(shape)
    reference: Policy = engine.reference()
    materials = Materials(task, engine, task.prompts("train", reference.tokenizer), (), Clock())
    oracle = Judging(Alphabet(), ledger, Manner(Mode.OFF, "random"), Asking())
    return Experiment(spec, materials, STRATEGIES.create(STRATEGY, {}), oracle, oracle)


def spec_of(shape: shapes.Shape) -> RunSpec:
    """The settings of the step; the rest of a run's is there because a spec states all of them."""
    sizes, named = shape.step, PluginSpec("benchmark")
    loop = LoopSpec("restart", STEP * sizes.num_labels, sizes.num_labels, sizes.num_prompts, sizes.oversample,
                    sizes.num_entropy_samples, (0,))  # fmt: skip
    return RunSpec(
        preset="benchmark", task=named, strategy=PluginSpec(STRATEGY), oracle=named, judge=named,
        policy=PolicySpec("benchmark", None, "bfloat16" if shape.mixed else "float32", 1), loop=loop,
        sampling=SamplingSpec(step_by_hand.TEMPERATURE, step_by_hand.TEMPERATURE), training=training_of(shape),
        evaluation=EvaluationSpec(1, 0), judging=JudgingSpec("random"), seed=SEED,
    )  # fmt: skip


def training_of(shape: shapes.Shape) -> TrainingSpec:
    """The shape's training, for the step's epochs."""
    return replace(shape.training, epochs=shape.step.num_epochs)
