"""RunSpec: everything that changes a result, validated when it is made; its canonical JSON is the run's identity."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import rfc8785

from apl_bench.types import JSON, SpecError

IDENTITY_PREFIX = "run-spec/1"
REGIMES = ("restart", "continue", "online")
ORDERS = ("random", "both", "fixed")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")  # of a model on the hub
COMMIT = re.compile(r"[0-9a-f]{40}")  # of its revision: a branch can change


def nearest(word: str, kind: str, known: Iterable[str]) -> SpecError:
    """The error for a name that does not exist: says the nearest one, and all there are."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return SpecError(f"no {kind} called {word!r}.{hint} There are: {', '.join(names) or 'none'}")


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise SpecError unless the condition holds, naming the value and what was expected."""
    if not condition:
        raise SpecError(f"{name} is {value!r}; expected {expected}")


@dataclass(frozen=True, slots=True)
class PluginSpec:
    """A plugin by name, with the parameters of its constructor; around an oracle its wrappers, the innermost first."""

    name: str
    params: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    wrappers: tuple[PluginSpec, ...] = ()

    @classmethod
    def from_table(cls, part: str, table: Mapping[str, Any]) -> Self:
        """From a preset's table [part]: `name`, for an oracle `wrappers`, and every other key a parameter."""
        name = table.get("name")
        require(isinstance(name, str), f"{part}.name", name, "the name of a plugin, as the shipped presets have it")
        structure = ("name", "wrappers") if part in _ORACLE_PARTS else ("name",)
        tables = table.get("wrappers", ()) if "wrappers" in structure else ()
        is_list = isinstance(tables, (list, tuple)) and all(isinstance(item, Mapping) for item in tables)
        require(is_list, f"{part}.wrappers", tables, 'a list of tables, such as [{ name = "flip", rate = 0.1 }]')
        wrappers = tuple(cls.from_table(f"{part}.wrappers[{i}]", item) for i, item in enumerate(tables))
        return cls(str(name), {key: value for key, value in table.items() if key not in structure}, wrappers)

    def to_table(self) -> dict[str, JSON]:
        """As it is hashed and recorded; without the word `wrappers` where there are none."""
        wrappers = [wrapper.to_table() for wrapper in self.wrappers]
        return {"name": self.name, **self.params, **({"wrappers": wrappers} if wrappers else {})}


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """theta_0: `shipped:NAME`, `wheel:NAME`, a folder, a GGUF file, or a hub id with its revision; CPU threads, since
    they change digits. `adapter`: `shipped:NAME` or a folder as peft writes it, merged into the model's weights.
    """

    model: str
    revision: str | None
    dtype: str
    num_threads: int
    adapter: str | None = None

    def __post_init__(self) -> None:
        require(self.dtype in ("float32", "bfloat16"), "policy.dtype", self.dtype, "float32 or bfloat16")
        require(self.num_threads >= 1, "policy.num_threads", self.num_threads, "at least 1")


@dataclass(frozen=True, slots=True)
class LoopSpec:
    """Algorithm 1: budget B, M labels and S prompts a step, J, N, what training starts from, where to evaluate."""

    regime: str
    budget: int
    labels_per_step: int
    prompts_per_step: int
    oversample: int
    num_entropy_samples: int
    waypoints: Sequence[int]

    def __post_init__(self) -> None:
        require(self.regime in REGIMES, "loop.regime", self.regime, " or ".join(REGIMES))
        for name in ("labels_per_step", "oversample", "num_entropy_samples"):
            require(getattr(self, name) >= 1, f"loop.{name}", getattr(self, name), "at least 1")
        size, budget = self.labels_per_step, self.budget
        require(budget >= size, "loop.budget", budget, f"at least one step of {size} labels")
        require(self.prompts_per_step >= size, "loop.prompts_per_step", self.prompts_per_step,
                f"at least loop.labels_per_step = {size}")  # fmt: skip
        reachable = [n for n in self.waypoints if n % size == 0 and 0 <= n <= budget]
        require(list(self.waypoints) == sorted(set(reachable)) and len(reachable) > 0, "loop.waypoints",
                list(self.waypoints), f"increasing multiples of {size} up to loop.budget = {budget}")  # fmt: skip

    @property
    def num_steps(self) -> int:
        """T = floor(B / M)."""
        return self.budget // self.labels_per_step


@dataclass(frozen=True, slots=True)
class SamplingSpec:
    """Temperatures of the candidates and of the test completions."""

    train_temperature: float
    test_temperature: float

    def __post_init__(self) -> None:
        for name in ("train_temperature", "test_temperature"):
            require(getattr(self, name) > 0, f"sampling.{name}", getattr(self, name), "a number above 0")


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """DPO (equation 4) with Adam, re-created for every fine-tuning; mini-batches of pairs, epochs a step."""

    learning_rate: float
    beta: float
    batch_size: int
    epochs: int
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    max_grad_norm: float

    def __post_init__(self) -> None:
        for name in ("learning_rate", "beta", "batch_size", "epochs", "adam_epsilon", "max_grad_norm"):
            require(getattr(self, name) > 0, f"training.{name}", getattr(self, name), "a number above 0")
        for name in ("adam_beta1", "adam_beta2"):
            require(0 <= getattr(self, name) < 1, f"training.{name}", getattr(self, name), "in [0, 1)")


@dataclass(frozen=True, slots=True)
class LoraSpec:
    """Low-rank adapters in place of all weights: W + alpha / rank B A in the layers whose names end in a target.

    A preset without this table trains all weights.
    """

    rank: int
    alpha: int
    targets: Sequence[str]

    def __post_init__(self) -> None:
        require(self.rank >= 1, "lora.rank", self.rank, "at least 1")
        require(self.alpha > 0, "lora.alpha", self.alpha, "a number above 0")
        require(len(self.targets) > 0, "lora.targets", self.targets, "names of linear layers, such as ['q_proj']")


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """How many held-out prompts each waypoint judges, and on how many of them KL and perplexity are measured."""

    num_prompts: int
    num_probe_prompts: int

    def __post_init__(self) -> None:
        require(self.num_prompts >= 1, "evaluation.num_prompts", self.num_prompts, "at least 1")
        require(0 <= self.num_probe_prompts <= self.num_prompts, "evaluation.num_probe_prompts",
                self.num_probe_prompts, f"0 to evaluation.num_prompts = {self.num_prompts}")  # fmt: skip


@dataclass(frozen=True, slots=True)
class JudgingSpec:
    """Presentation order of the two texts: `random` (a keyed hash of the pair's content), `both` (two calls; where they
    disagree it is a tie) or `fixed` (tests only).
    """

    order: str

    def __post_init__(self) -> None:
        require(self.order in ORDERS, "judging.order", self.order, " or ".join(ORDERS))


_ORACLE_PARTS = ("oracle", "judge")
_PLUGINS = ("task", "strategy", *_ORACLE_PARTS)
_SECTIONS: dict[str, type] = {
    "policy": PolicySpec,
    "loop": LoopSpec,
    "sampling": SamplingSpec,
    "training": TrainingSpec,
    "evaluation": EvaluationSpec,
    "judging": JudgingSpec,
    "lora": LoraSpec,
}
_OPTIONAL = ("lora",)  # tables that a preset may leave out; then they are no part of a run's identity either
_MAY_BE_LEFT_OUT = ("revision", "adapter")  # settings, likewise; `revision` is part of the identity all the same


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run: a task, a strategy, a seed, and every setting that can change what comes out."""

    preset: str
    task: PluginSpec
    strategy: PluginSpec
    oracle: PluginSpec
    judge: PluginSpec
    policy: PolicySpec
    loop: LoopSpec
    sampling: SamplingSpec
    training: TrainingSpec
    evaluation: EvaluationSpec
    judging: JudgingSpec
    seed: int
    lora: LoraSpec | None = None

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "0 or more")

    @classmethod
    def from_tables(cls, preset: str, tables: Mapping[str, Mapping[str, Any]], seed: int) -> Self:
        """From a preset's tables with the strategy's table among them; errors name the nearest known key."""
        known = {*_PLUGINS, *_SECTIONS}
        for name in tables:
            if name not in known:
                raise nearest(name, "table in a preset", known)
        required = known - set(_OPTIONAL)
        for name in required - set(tables):
            raise SpecError(
                f"preset {preset!r} has no table [{name}]; a preset states all of: {', '.join(sorted(required))}"
            )
        parts: dict[str, Any] = {name: PluginSpec.from_table(name, tables[name]) for name in _PLUGINS}
        parts |= {name: _section(name, kind, tables[name]) for name, kind in _SECTIONS.items() if name in tables}
        return cls(preset=preset, seed=seed, **parts)

    def to_tables(self) -> dict[str, Any]:
        """Plain nested values, as they are hashed and recorded."""
        plugins = {name: getattr(self, name).to_table() for name in _PLUGINS}
        stated = {name: getattr(self, name) for name in _SECTIONS if getattr(self, name) is not None}
        sections = {name: _plain(dataclasses.asdict(section)) for name, section in stated.items()}
        if self.policy.adapter is None:
            del sections["policy"]["adapter"]
        return {"preset": self.preset, "seed": self.seed, **plugins, **sections}

    @property
    def identity(self) -> str:
        """sha256 of the prefix and the RFC 8785 canonical JSON of everything above, in hex."""
        canonical = rfc8785.dumps([IDENTITY_PREFIX, self.to_tables()])
        return hashlib.sha256(canonical).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _section(name: str, kind: type, table: Mapping[str, Any]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in table:
        if key not in fields:
            raise nearest(key, f"setting in [{name}]", fields)
    missing = [key for key in fields if key not in table and key not in _MAY_BE_LEFT_OUT]
    if missing:
        raise SpecError(f"[{name}] lacks {', '.join(missing)}; every setting that changes a result is stated")
    return kind(**{key: _typed(f"{name}.{key}", str(field.type), table.get(key)) for key, field in fields.items()})


def _typed(name: str, kind: str, value: Any) -> Any:
    """The value as the field's type, where it is one; integers pass for floats, nothing else is converted."""
    if kind == "float":
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        require(is_number, name, value, "a finite number")
        return float(value)
    if kind == "int":
        require(isinstance(value, int) and not isinstance(value, bool), name, value, "a whole number")
    elif kind == "str":
        require(isinstance(value, str), name, value, "a text")
    elif kind == "Sequence[str]":
        is_list = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
        require(is_list, name, value, "a list of texts")
        return tuple(value)
    elif kind == "Sequence[int]":
        is_list = isinstance(value, (list, tuple)) and all(type(item) is int for item in value)
        require(is_list, name, value, "a list of whole numbers, such as [0, 64, 128]")
        return tuple(value)
    return value


def override(tables: Mapping[str, Mapping[str, Any]], assignment: str) -> dict[str, dict[str, Any]]:
    """The tables with one `table.key=value` applied; the value is read as TOML, else taken as text.

    Plugin tables (task, strategy, oracle, judge, wrapper) take any key: the plugin says what it knows when it is built.
    """
    path, separator, text = assignment.partition("=")
    table, dot, key = path.strip().partition(".")
    if not (separator and dot and key):
        raise SpecError(f"--set {assignment!r} is not of the form table.key=value, such as training.epochs=3")
    if table not in tables and table not in _OPTIONAL:
        raise nearest(table, "table to set", [*tables, *_OPTIONAL])
    if table in _SECTIONS:
        known = [field.name for field in dataclasses.fields(_SECTIONS[table])]
        if key not in known:
            raise nearest(f"{table}.{key}", "setting", [f"{table}.{name}" for name in known])
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    changed = {table: {}, **{name: dict(values) for name, values in tables.items()}}
    changed[table][key] = value
    return changed
