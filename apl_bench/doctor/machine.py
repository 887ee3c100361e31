"""What is here: memory, devices, room on disks, optional packages, keys. Nothing is asked of anybody."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

from apl_bench.cache import cache_folder
from apl_bench.engine.hardware import Device, cuda_devices, torch_version
from apl_bench.registry import ORACLES

PACKAGE = "apl-bench"

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*(?:;.*extra == ['\"](?P<extra>[\w-]+)['\"])?")


@dataclass(frozen=True, slots=True)
class Folder:
    """A place for what is downloaded or made, and the room on its disk in bytes."""

    holds: str
    path: str
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Extra:
    """A group of optional packages, those of it that are not installed, and the command that provides it."""

    name: str
    absent: tuple[str, ...]
    command: str


@dataclass(frozen=True, slots=True)
class Key:
    """A secret, by the name of its variable; never its text."""

    name: str
    is_set: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run would find. `memory_bytes` is what this process may have at most; None where nobody says."""

    python: str
    system: str
    torch: str
    num_cores: int
    memory_bytes: int | None
    devices: tuple[Device, ...]
    folders: tuple[Folder, ...]
    extras: tuple[Extra, ...]
    keys: tuple[Key, ...]


def look_around() -> Machine:
    """This machine, now."""
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        torch=torch_version(),
        num_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        devices=cuda_devices(),
        folders=tuple(_folders()),
        extras=tuple(extras(requires(PACKAGE) or ())),
        keys=tuple(_keys()),
    )


def extras(requirements: Iterable[str]) -> list[Extra]:
    """The groups that a package's own requirements name, in their order."""
    groups: dict[str, list[str]] = {}
    for requirement in requirements:
        found = _REQUIREMENT.match(requirement)
        if found and found["extra"]:
            groups.setdefault(found["extra"], []).append(found["name"])
    return [
        Extra(extra, tuple(name for name in names if not _installed(name)), f"pip install '{PACKAGE}[{extra}]'")
        for extra, names in groups.items()
    ]


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _memory_bytes() -> int | None:
    """The machine's memory, or what a container may have of it."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    texts = [Path(path).read_text(encoding="ascii").strip() for path in _CGROUP_LIMITS if Path(path).is_file()]
    return min([total, *(int(text) for text in texts if text.isdigit())])


def _folders() -> Iterable[Folder]:
    from huggingface_hub import constants

    for holds, path in (("the hub's models and data", Path(constants.HF_HUB_CACHE)),
                        ("judgments, converted models", cache_folder())):  # fmt: skip
        there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
        yield Folder(holds, str(path), shutil.disk_usage(there).free)


def _keys() -> Iterable[Key]:
    """Those of the oracles that name one, and that of the hub."""
    from huggingface_hub import get_token

    named = {getattr(ORACLES.load(name), "key_variable", None) for name in _usable_oracles()}
    for name in sorted(filter(None, named)):
        yield Key(str(name), bool(os.environ.get(str(name), "").strip()))
    yield Key("HF_TOKEN, or hf auth login", get_token() is not None)


def _usable_oracles() -> list[str]:
    return [entry.name for entry in ORACLES.entries() if entry.error is None]
