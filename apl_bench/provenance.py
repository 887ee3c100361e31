"""Which harness this is: its version, and one checksum over the sources that can change a result."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from apl_bench import __version__

FOLDER = Path(__file__).parent
SUFFIXES = (".py", ".toml")
# What looks at recorded runs, or starts them, and is no part of one.
BESIDE = {
    "annotation", "benchmarks", "checks", "cli", "comparison", "comparison_json", "convergence", "doctor", "export",
    "health", "leaderboard", "paper", "planning", "power", "provenance", "replay", "report", "reselection",
    "statistics", "sweep", "tracking",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkout:
    """The commit of the git checkout that the harness runs from, and whether its sources have changes beyond it."""

    commit: str
    dirty: bool


@cache
def source_sha256() -> str:
    """sha256 over the name and the sha256 of each source file that a run can use, sorted; hex.

    Weights and data are not among them: a run records the checksums of those that it used.
    """
    digest = hashlib.sha256()
    for name in sorted(_sources()):
        content = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


def harness() -> dict[str, str]:
    """As a run notes it each time it begins."""
    return {"version": __version__, "source_sha256": source_sha256()}


def checkout() -> Checkout | None:
    """The git checkout around the package; None where it was installed, or git is not there."""
    root = FOLDER.parent
    commit = _git("rev-parse", "HEAD") if (root / ".git").exists() else None
    if commit is None:
        return None
    links = [path.resolve().name for path in FOLDER.iterdir() if path.is_symlink() and path.name not in BESIDE]
    changed = _git("status", "--porcelain", "--", FOLDER.name, *links) or ""
    return Checkout(commit, any(_is_source(line[3:].split("/", 1)[-1]) for line in changed.splitlines()))


def _sources() -> Iterator[str]:
    for folder, folders, names in os.walk(FOLDER, followlinks=True):
        place = Path(folder).relative_to(FOLDER)
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (str(place / name) for name in names if _is_source(str(place / name)))


def _is_source(name: str) -> bool:
    path = Path(name)
    return path.suffix in SUFFIXES and path.parts[0].removesuffix(".py") not in BESIDE


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(FOLDER.parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip("\n")
    except (OSError, subprocess.CalledProcessError):
        return None
