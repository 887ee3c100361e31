"""Everything that one run needs, built from its spec before the first label is bought."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from apl_bench import __version__
from apl_bench.asking.asking import Asking
from apl_bench.clock import Clock, TimedEngine
from apl_bench.judging import Judging, Manner, Mode, Reasked
from apl_bench.judgments.ledger import Ledger
from apl_bench.protocols import Engine, Strategy, Task
from apl_bench.registry import ORACLES, STRATEGIES, TASKS, WRAPPERS
from apl_bench.spec import PluginSpec, RunSpec, require
from apl_bench.types import Prompt
from apl_bench.wrapping import create_oracle


@dataclass(frozen=True)
class Materials:
    """What runs that differ only in strategy and seed share: the task, its prompts, and theta_0."""

    task: Task
    engine: Engine
    train: Sequence[Prompt]
    test: Sequence[Prompt]
    clock: Clock


@dataclass(frozen=True)
class Means:
    """With what a command gets its verdicts: nothing here changes one, so nothing here is in the spec.

    `remote_mode` is the mode of oracles that are not local. `batch`: which of "oracle" and "judge" go through a batch
    API. `generation`: of the modes refresh and audit.
    """

    ledger: Ledger
    asking: Asking
    mode: Mode = Mode.RECORD
    remote_mode: Mode = Mode.RECORD
    generation: int = 0
    batch: frozenset[str] = frozenset()
    _asked: list[Judging] = field(default_factory=list)

    def reasked(self) -> list[Reasked]:
        """What was asked a second time, by refresh or audit."""
        return [item for judging in self._asked for item in judging.reasked]

    def judging(self, part: str, plugin: PluginSpec, order: str) -> Judging:
        """The oracle or the judge of a run."""
        source = create_oracle(plugin)
        mode = Mode.REPLAY if source.replays else self.mode if source.oracle.local else self.remote_mode
        generation = self.generation if mode in (Mode.REFRESH, Mode.AUDIT) else 0
        manner = Manner(mode, order, generation, part in self.batch)
        self._asked.append(Judging(source, self.ledger, manner, self.asking))
        return self._asked[-1]


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
        """J * S: training prompts that a step draws without replacement; all of X where J * S is more.

        Paper: table 1 draws 32,000 of IMDB's 24,895 prompts, of which the release meets some twice.
        """
        return min(self.oversample * self.spec.loop.prompts_per_step, len(self.materials.train))

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
    oracles = {part: _oracle_identity(plugin) for part, plugin in (("oracle", spec.oracle), ("judge", spec.judge))}
    return {"task": TASKS.identity(spec.task.name), "strategy": STRATEGIES.identity(spec.strategy.name), **oracles}


def _oracle_identity(plugin: PluginSpec) -> dict[str, Any]:
    wrappers = {"wrappers": [WRAPPERS.identity(wrapper.name) for wrapper in plugin.wrappers]}
    identity = {**ORACLES.identity(plugin.name), **create_oracle(plugin).oracle.identity()}
    return {**identity, **wrappers} if plugin.wrappers else identity


def prepare(spec: RunSpec, wrap: Callable[[Engine], Engine] | None = None) -> Materials:
    """Load the policy and the prompts; stops with an error where a source or a model is missing.

    `wrap` may put an engine of its own around the one that is loaded.
    """
    from apl_bench.engine.huggingface import load_engine

    clock = Clock()
    task: Task = TASKS.create(spec.task.name, spec.task.params)
    with clock.stage("load"):
        loaded: Engine = load_engine(spec.policy, spec.lora)
        engine = TimedEngine(wrap(loaded) if wrap else loaded, clock)
        tokenizer = engine.reference().tokenizer
        train, test = task.prompts("train", tokenizer), task.prompts("test", tokenizer)
    require_prompts(spec, len(train), len(test))
    return Materials(task, engine, train, test[: spec.evaluation.num_prompts], clock)


def require_prompts(spec: RunSpec, num_train: int, num_test: int) -> None:
    """Raise SpecError unless the task has the prompts that a step keeps, and those of the evaluation."""
    num_kept, num_evaluated = spec.loop.prompts_per_step, spec.evaluation.num_prompts
    require(num_test >= num_evaluated, "evaluation.num_prompts", num_evaluated,
            f"at most the {num_test} held-out prompts")  # fmt: skip
    require(num_train >= num_kept, "loop.prompts_per_step", num_kept,
            f"at most the {num_train} training prompts, which a step takes without replacement")  # fmt: skip


def build(spec: RunSpec, materials: Materials, means: Means) -> Experiment:
    """The run's parts. Raises SpecError where one cannot be made."""
    strategy: Strategy = STRATEGIES.create(spec.strategy.name, spec.strategy.params)
    parts = (("oracle", spec.oracle), ("judge", spec.judge))
    judges = [means.judging(part, plugin, spec.judging.order) for part, plugin in parts]
    require_prompts(spec, len(materials.train), len(materials.test))
    return Experiment(spec, materials, strategy, *judges)
