"""Presets: one TOML file for each (task, scale), in which every setting that changes a result is stated."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from apl_bench.spec import RunSpec, nearest, override
from apl_bench.types import SpecError

_FOLDER = Path(__file__).parent


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
        if preset not in known:
            raise nearest(preset, f"preset of task {task!r}", known)
        name, path = preset, _FOLDER / f"{task}-{preset}.toml"
    tables = _read(path)
    tables.pop("summary", None)
    return name, tables


def resolve(task: str, preset: str, strategy: str, settings: tuple[str, ...], seed: int) -> RunSpec:
    """The spec of one run: the preset's tables, the strategy, and `table.key=value` settings on top."""
    name, tables = load(task, preset)
    tables = {**tables, "strategy": {"name": strategy}}
    for setting in settings:
        tables = override(tables, setting)
    if tables["task"]["name"] != task:
        raise SpecError(f"preset {preset!r} is for task {tables['task']['name']!r}, not {task!r}")
    return RunSpec.from_tables(name, tables, seed)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is not TOML: {error}") from None
