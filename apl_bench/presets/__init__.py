"""Presets: one TOML file for each (task, scale), in which every setting that changes a result is stated."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apl_bench.expressions import parse
from apl_bench.registry import ORACLES, TASKS, WRAPPERS
from apl_bench.spec import PluginSpec, RunSpec, nearest, override, require
from apl_bench.types import SpecError

_FOLDER = Path(__file__).parent
_CREDENTIALS = re.compile(r"://[^/?#]*@")


@dataclass(frozen=True, slots=True)
class Changes:
    """What a command line changes of a preset: `table.key=value` settings, and another oracle or judge."""

    settings: tuple[str, ...] = ()
    oracle: str | None = None
    judge: str | None = None


def names() -> list[str]:
    """The presets that ship, as `task-preset`."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def describe(name: str) -> str:
    """The preset's one line."""
    return str(_read(_FOLDER / f"{name}.toml")["summary"])


def load(task: str, preset: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Name and tables of a task's preset; `preset` may also be the path of a TOML file of one's own."""
    if preset.endswith(".toml"):
        path = Path(preset)
        if not path.is_file():
            raise SpecError(f"no preset file {preset!r}; expected a TOML file like {_FOLDER / names()[0]}.toml")
        name = path.stem
    else:
        known = [name.removeprefix(f"{task}-") for name in names() if name.startswith(f"{task}-")]
        name = preset.removeprefix(f"{task}-")
        if not known:
            raise SpecError(f"no preset of task {task!r} ships with the package; write a TOML file like "
                            f"{_FOLDER / names()[0]}.toml and give it: --preset FILE.toml")  # fmt: skip
        if name not in known:
            raise nearest(preset, f"preset of task {task!r}", known)
        path = _FOLDER / f"{task}-{name}.toml"
    tables = _read(path)
    tables.pop("summary", None)
    _refuse_malformed(path, tables)
    return name, tables


def _refuse_malformed(path: Path, tables: Mapping[str, Any]) -> None:
    """Raise SpecError where the file is not made of tables, or says what a command line says."""
    for name, table in tables.items():
        require(isinstance(table, dict), f"{name} in {path}", table, f"a table, [{name}]")
    if "strategy" in tables:
        raise SpecError(f"{path} has a table [strategy]; a preset is the same for all strategies: name one by "
                        "--strategy, and give it parameters by --set strategy.key=value")  # fmt: skip


def resolve(task: str, preset: str, strategy: str, changes: Changes, seed: int) -> RunSpec:
    """The spec of one run: the preset's tables, the strategy, and the changes on top."""
    name, tables = load(task, preset)
    tables = {**tables, "strategy": {"name": strategy}}
    for part, expression in (("oracle", changes.oracle), ("judge", changes.judge)):
        if expression is not None:
            tables[part] = dict(parse(expression).to_table())
    for setting in changes.settings:
        tables = override(tables, setting)
    spec = RunSpec.from_tables(name, tables, seed)
    if spec.task.name != task:
        raise SpecError(f"preset {preset!r} is for task {spec.task.name!r}, not {task!r}")
    return replace(spec, oracle=_completed("oracle", spec.oracle, task), judge=_completed("judge", spec.judge, task))


def _completed(part: str, plugin: PluginSpec, task: str) -> PluginSpec:
    """The oracle and its wrappers with all their parameters: where one is not stated, what follows from the part and
    the task, or the constructor's default. A default that changes later then changes no recorded spec.

    Raises SpecError where an address holds a password: a spec is recorded, hashed and published.
    """
    for key, value in plugin.params.items():
        if isinstance(value, str) and _CREDENTIALS.search(value):
            raise SpecError(f"{part}.{key} has a name or password before its '@', and a spec is published; expected an "
                            "address alone: let a proxy on this machine add the password")  # fmt: skip
    follows = ORACLES.load(plugin.name).defaults(part, TASKS.load(task))
    wrappers = [replace(each, params={**WRAPPERS.defaults(each.name), **each.params}) for each in plugin.wrappers]
    params = {**ORACLES.defaults(plugin.name), **follows, **plugin.params}
    return replace(plugin, params=params, wrappers=tuple(wrappers))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is not TOML: {error}") from None
