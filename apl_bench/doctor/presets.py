"""What a preset needs and which of it is not here, by the very functions that a run calls.

Nothing is trained, converted or downloaded. With `online` the hub is asked whether it has what the cache lacks, since a
run would then download it; without it nobody is asked anything.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from apl_bench import presets
from apl_bench.checkpoints import NotHereError, newest_commit, without_hub
from apl_bench.doctor.machine import Machine
from apl_bench.engine.models import find_checkpoint, num_parameters, require_peft
from apl_bench.experiment import require_prompts
from apl_bench.oracles.hosted import Hosted
from apl_bench.planning.texts import FileTokenizer, PieceTokenizer
from apl_bench.presets import Changes
from apl_bench.protocols import Task, Tokenizer
from apl_bench.registry import TASKS
from apl_bench.spec import HUB_ID, PluginSpec, RunSpec, nearest
from apl_bench.types import SpecError
from apl_bench.wrapping import create_oracle

T = TypeVar("T")

STRATEGY = "random"  # what strategies add to a preset's needs is time
COPIES = 6  # of the weights, in fp32: theta_0, theta_t, its successor with its gradient and Adam's two moments
BYTES = 4


@dataclass(frozen=True, slots=True)
class Lack:
    """What a run would stop at, and what to do about it: the sentence is the run's own. `part` is a preset's table."""

    part: str
    sentence: str


@dataclass(frozen=True, slots=True)
class HubItem:
    """A model or dataset of the hub, the commit that is wanted, and the setting that states it."""

    name: str
    revision: str | None
    setting: str

    @property
    def kind(self) -> str:
        """As the hub calls it."""
        return "dataset" if self.setting.startswith("task.") else "model"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a run of a preset takes. Memory is that of weights, gradients and Adam's moments alone; it is None, like
    the number of weights, where the model's config is not here to count by.
    """

    num_parameters: int | None
    memory_bytes: int | None
    num_labels: int
    num_judgments: int
    oracle: str
    judge: str


@dataclass(frozen=True, slots=True)
class Examined:
    """A preset as this machine stands to it. `notes` are what is worth knowing and stops nothing."""

    preset: str
    lacks: tuple[Lack, ...]
    notes: tuple[str, ...] = ()
    needs: Needs | None = None

    @property
    def can_run(self) -> bool:
        """Whether a run would get beyond its start."""
        return not self.lacks


def task_and_preset(name: str) -> tuple[str, str]:
    """`imdb-lite`, or a TOML file of one's own, as a task and what `--preset` takes. Raises SpecError."""
    if name.endswith(".toml"):
        table = presets.load("", name)[1].get("task", {})
        task = table.get("name")
        if not isinstance(task, str):
            raise SpecError(f"task.name in {name} is {task!r}; expected the name of a task")
        return task, name
    found = [task for task in TASKS.names() if name.startswith(f"{task}-")]
    if name not in presets.names():
        raise nearest(name, "preset", presets.names())
    task = max(found, key=len)
    return task, name.removeprefix(f"{task}-")


def examine(name: str, changes: Changes, machine: Machine, online: bool) -> Examined:
    """Which of what the preset needs is not on this machine."""
    with nullcontext() if online else without_hub():
        try:
            spec = presets.resolve(*task_and_preset(name), STRATEGY, changes, 0)
        except SpecError as error:
            return Examined(name, (Lack("preset", str(error)),))
        return _Examination(spec, machine, online).result(name)


@dataclass
class _Examination:
    spec: RunSpec
    machine: Machine
    online: bool
    lacks: list[Lack] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def result(self, name: str) -> Examined:
        folder = self._try("policy", partial(self._here_or_there, self._checkpoint, self._policy_item))
        self._try("lora", self._adapters)
        self._try("task", partial(self._here_or_there, partial(self._prompts, folder), self._data_item))
        for part, plugin in (("oracle", self.spec.oracle), ("judge", self.spec.judge)):
            if part == "oracle" or plugin != self.spec.oracle:  # what one lacks the other lacks
                item = partial(_oracle_item, part, plugin)
                self._try(part, partial(self._here_or_there, partial(_ask_for, plugin), item))
        needs = self._needs(folder)
        self._try("memory", partial(self._room, needs))
        return Examined(name, tuple(self.lacks), tuple(self.notes), needs)

    def _try(self, part: str, check: Callable[[], T]) -> T | None:
        """What the check gives; None, with its sentence noted, where it refuses."""
        try:
            return check()
        except SpecError as error:
            self.lacks.append(Lack(part, str(error)))
            return None

    def _here_or_there(self, look: Callable[[], T], item_of: Callable[[], HubItem | None]) -> T | None:
        """What is here; None, with a note, for what the hub has, so that a run would download it."""
        try:
            with without_hub():
                return look()
        except NotHereError as error:
            item = item_of() if self.online else None
            if item is None:
                raise
            commit = newest_commit(item.name, item.revision, item.kind)
            if item.revision is None:
                raise SpecError(f"{item.name!r} needs its commit; the newest is --set {item.setting}={commit}"
                                ) from error  # fmt: skip
            self.notes.append(f"{item.name} is not in this machine's cache; the hub has it, and a run downloads it")
            return None

    def _checkpoint(self) -> Path | None:
        folder = find_checkpoint(self.spec.policy)
        if folder is None:
            self.notes.append(f"{self.spec.policy.model} is converted by the first run that uses it")
        return folder

    def _policy_item(self) -> HubItem | None:
        policy = self.spec.policy
        return HubItem(policy.model, policy.revision, "policy.revision") if HUB_ID.fullmatch(policy.model) else None

    def _data_item(self) -> HubItem | None:
        about = TASKS.create(self.spec.task.name, self.spec.task.params).identity()
        repository, revision = about.get("repository"), about.get("revision")
        known = isinstance(repository, str) and isinstance(revision, str)
        return HubItem(str(repository), str(revision), "task.revision") if known else None

    def _adapters(self) -> None:
        adapter = self.spec.policy.adapter
        if self.spec.lora is not None:
            require_peft("[lora]")
        if adapter is not None:
            require_peft("policy.adapter")
            from apl_bench.engine.lora import find_adapter

            find_adapter(adapter)

    def _prompts(self, folder: Path | None) -> None:
        path = folder / "tokenizer.json" if folder is not None else None
        own = path if path is not None and path.is_file() else None
        plugin = self.spec.task
        num_train, num_test = _num_prompts(plugin.name, tuple(plugin.params.items()), own)
        if own is not None:  # another tokenizer may make a few more prompts, or fewer
            require_prompts(self.spec, num_train, num_test)

    def _needs(self, folder: Path | None) -> Needs:
        loop, num = self.spec.loop, self.spec.evaluation.num_prompts
        weights = self._try("policy", partial(num_parameters, folder)) if folder is not None else None
        copies = 1 if self.spec.lora is not None else COPIES
        return Needs(
            num_parameters=weights,
            memory_bytes=None if weights is None else copies * BYTES * weights,
            num_labels=loop.num_steps * loop.labels_per_step,
            num_judgments=len(loop.waypoints) * num,
            oracle=_who(self.spec.oracle),
            judge=_who(self.spec.judge),
        )

    def _room(self, needs: Needs) -> None:
        device = self.machine.devices[0] if self.machine.devices else None
        room, where = (device.memory_bytes, device.name) if device else (self.machine.memory_bytes, "this machine")
        if needs.memory_bytes is not None and room is not None and needs.memory_bytes > room:
            raise SpecError(f"weights, gradients and Adam take {needs.memory_bytes / 1e9:.1f} GB, and {where} has "
                            f"{room / 1e9:.1f} GB: take a device with more memory, a smaller policy, or [lora]"
                            )  # fmt: skip


@cache
def _num_prompts(name: str, params: tuple[tuple[str, object], ...], tokenizer_file: Path | None) -> tuple[int, int]:
    """Prompts to train on and held out; those of several presets are the same."""
    task: Task = TASKS.create(name, dict(params))  # type: ignore[arg-type]  # the spec's own JSON
    tokenizer: Tokenizer = PieceTokenizer() if tokenizer_file is None else FileTokenizer(tokenizer_file)
    return len(task.prompts("train", tokenizer)), len(task.prompts("test", tokenizer))


def _ask_for(plugin: PluginSpec) -> None:
    """Make the oracle, as a run does, and look for its key."""
    oracle = create_oracle(plugin).oracle
    if isinstance(oracle, Hosted):
        oracle.require_key()


def _oracle_item(part: str, plugin: PluginSpec) -> HubItem | None:
    model, revision = plugin.params.get("model"), plugin.params.get("revision")
    if plugin.name != "hf" or not isinstance(model, str):
        return None
    return HubItem(model, revision if isinstance(revision, str) else None, f"{part}.revision")


def _who(plugin: PluginSpec) -> str:
    """An oracle in a few words: what it is, and by which model."""
    model = plugin.params.get("model")
    return f"{plugin.name}:{model}" if isinstance(model, str) else plugin.name
