"""Everything that one run needs, built from its spec before the first label is bought."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from apl_bench import __version__
from apl_bench.clock import Clock, TimedEngine
from apl_bench.judging import Judging, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.protocols import Engine, Oracle, Strategy, Task
from apl_bench.registry import ORACLES, STRATEGIES, TASKS
from apl_bench.spec import RunSpec, require
from apl_bench.types import Prompt, SpecError


@dataclass(frozen=True)
class Materials:
    """What runs that differ only in strategy and seed share: the task, its prompts, and theta_0."""

    task: Task
    engine: Engine
    train: Sequence[Prompt]
    test: Sequence[Prompt]
    clock: Clock


@dataclass(frozen=True)
class Experiment:
    """One run's parts."""

    spec: RunSpec
    materials: Materials
    strategy: Strategy
    oracle: Judging
    judge: Judging

    @property
    def oversample(self) -> int:
        """J: the strategy's own, or the preset's where the strategy leaves it to the preset."""
        return self.strategy.oversample or self.spec.loop.oversample

    @property
    def num_drawn(self) -> int:
        """J * S: training prompts that a step draws."""
        return self.oversample * self.spec.loop.prompts_per_step

    def manifest(self) -> dict[str, Any]:
        """spec.json: the spec, its hash, and the versions of all that can change a number."""
        return {
            "identity": self.spec.identity,
            "spec": self.spec.to_tables(),
            "data": {**self.materials.task.identity(), "num_train": len(self.materials.train)},
            "model": dict(self.materials.engine.identity()),
            **plugins(self.spec),
            "versions": {
                "apl-bench": __version__,
                "python": platform.python_version(),
                "numpy": version("numpy"),
                "machine": platform.machine(),
            },
        }


def plugins(spec: RunSpec) -> dict[str, dict[str, Any]]:
    """What the four plugins of a run are today; loads neither the policy nor the prompts."""
    oracles = {
        part: {**ORACLES.identity(plugin.name), **_oracle(plugin.name, plugin.params).identity()}
        for part, plugin in (("oracle", spec.oracle), ("judge", spec.judge))
    }
    return {"task": TASKS.identity(spec.task.name), "strategy": STRATEGIES.identity(spec.strategy.name), **oracles}


def prepare(spec: RunSpec) -> Materials:
    """Load the policy and the prompts; stops with an error where a source or a model is missing."""
    from apl_bench.engine.huggingface import load_engine

    clock = Clock()
    task: Task = TASKS.create(spec.task.name, spec.task.params)
    with clock.stage("load"):
        engine = TimedEngine(load_engine(spec.policy), clock)
        tokenizer = engine.reference().tokenizer
        train, test = task.prompts("train", tokenizer), task.prompts("test", tokenizer)
    num_test = spec.evaluation.num_prompts
    require(len(test) >= num_test, "evaluation.num_prompts", num_test, f"at most the {len(test)} held-out prompts")
    return Materials(task, engine, train, test[:num_test], clock)


def build(spec: RunSpec, materials: Materials, ledger: Ledger, mode: Mode) -> Experiment:
    """The run's parts; checks that a step can draw its prompts without replacement."""
    strategy: Strategy = STRATEGIES.create(spec.strategy.name, spec.strategy.params)
    judges = [
        Judging(_oracle(plugin.name, plugin.params), ledger, mode, spec.judging.order)
        for plugin in (spec.oracle, spec.judge)
    ]
    experiment = Experiment(spec, materials, strategy, *judges)
    num_drawn, num_train = experiment.num_drawn, len(materials.train)
    if num_drawn > num_train:
        raise SpecError(f"a step draws {num_drawn} prompts and the task has {num_train}; lower loop.prompts_per_step")
    return experiment


def _oracle(name: str, params: Mapping[str, Any]) -> Oracle:
    oracle: Oracle = ORACLES.create(name, params)
    return oracle
