"""Which sources count as a release: those of this installation, and those that leaderboard/releases.json lists.

python -m apl_bench.leaderboard.releases >> adds the sources of this checkout to the list, for a maintainer
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from apl_bench import __version__
from apl_bench.provenance import checkout, source_sha256
from apl_bench.registry import BUILT_IN, ORACLES, STRATEGIES, TASKS, Registry
from apl_bench.types import SpecError

SCHEMA = "apl-releases/1"
FILE = Path(__file__).parent / "releases.json"
_REGISTRIES: Mapping[str, Registry[Any]] = {"strategy": STRATEGIES, "task": TASKS, "oracle": ORACLES}


@dataclass(frozen=True)
class Release:
    """A state of the harness: its version and commit, the checksum over its sources, and that of each plugin's file
    (part -> name -> sha256)."""

    version: str
    commit: str | None
    source_sha256: str
    plugins: Mapping[str, Mapping[str, str]]


@cache
def releases() -> tuple[Release, ...]:
    """This installation, and those on the list."""
    listed = json.loads(FILE.read_text(encoding="utf-8"))["releases"] if FILE.exists() else []
    return (installed(), *(Release(**entry) for entry in listed))


def installed() -> Release:
    """This installation. Plugins that cannot be imported here, for want of a package, have no checksum."""
    found = checkout()
    plugins = {part: dict(_sources(part)) for part in _REGISTRIES}
    return Release(__version__, found.commit if found else None, source_sha256(), plugins)


def with_source(sha256: str) -> Release | None:
    """The release with these sources."""
    return next((release for release in releases() if release.source_sha256 == sha256), None)


def is_released(part: str, name: str, sha256: str | None) -> bool:
    """Whether some release has this file as its plugin of this name; a judge is an oracle."""
    kind = "oracle" if part == "judge" else part
    return any(release.plugins.get(kind, {}).get(name) == sha256 for release in releases())


def _sources(part: str) -> Sequence[tuple[str, str]]:
    found = []
    for name in _REGISTRIES[part].names():
        if _REGISTRIES[part].entry(name).origin != BUILT_IN or name == "hf":
            continue  # hf loads torch, and its requests hold the checksums of its model
        try:
            found.append((name, str(_REGISTRIES[part].identity(name)["source_sha256"])))
        except (SpecError, ImportError):
            continue
    return found


def add(release: Release) -> None:
    """Put a release on the list, once."""
    listed: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["releases"] if FILE.exists() else []
    kept = [entry for entry in listed if entry["source_sha256"] != release.source_sha256]
    entry = {"version": release.version, "commit": release.commit, "source_sha256": release.source_sha256,
             "plugins": {part: dict(names) for part, names in release.plugins.items()}}  # fmt: skip
    FILE.write_text(json.dumps({"schema": SCHEMA, "releases": [*kept, entry]}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    add(installed())
