"""Which sources count as a release: those of this installation, and those that leaderboard/releases.json lists.

python -m apl_bench.leaderboard.releases check >> whether the list has the sources of this checkout
python -m apl_bench.leaderboard.releases >> adds them, for a maintainer

The list keeps the checksums of the past: what was merged still passes when the sources have changed.
"""

from __future__ import annotations

import json
import sys
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
    return (installed(), *(Release(**entry) for entry in _listed()))


def _listed() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["releases"] if FILE.exists() else []
    return found


def is_listed(sha256: str) -> bool:
    """Whether the list has these sources: they count wherever it is read, and not on this machine alone."""
    return any(entry["source_sha256"] == sha256 for entry in _listed())


def installed() -> Release:
    """This installation. Plugins that cannot be imported here, for want of a package, have no checksum."""
    found = checkout()
    plugins = {part: dict(_sources(part)) for part in _REGISTRIES}
    return Release(__version__, found.commit if found else None, source_sha256(), plugins)


def with_source(sha256: str) -> Release | None:
    """The release with these sources, one whose commit is known before one that is not a checkout."""
    found = [release for release in releases() if release.source_sha256 == sha256]
    return min(found, key=lambda release: release.commit is None, default=None)


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
    kept = [entry for entry in _listed() if entry["source_sha256"] != release.source_sha256]
    entry = {"version": release.version, "commit": release.commit, "source_sha256": release.source_sha256,
             "plugins": {part: dict(names) for part, names in release.plugins.items()}}  # fmt: skip
    FILE.write_text(json.dumps({"schema": SCHEMA, "releases": [*kept, entry]}, indent=1) + "\n", encoding="utf-8")


def doubt(sha256: str, dirty: bool) -> str | None:
    """Why runs by these sources may fail V210 in division closed elsewhere than here; None where the list has them."""
    if dirty:
        return f"the sources {sha256[:12]} have changes that no commit has"
    if is_listed(sha256):
        return None
    if sha256 == source_sha256():
        return (f"the sources {sha256[:12]} are this checkout's own and not in leaderboard/releases.json: they count "
                "here, and wherever a checkout has just the same")  # fmt: skip
    return f"the sources {sha256[:12]} are neither in leaderboard/releases.json nor those of this checkout"


def main(words: Sequence[str]) -> int:
    """`check`, or nothing to add; the exit code."""
    found = checkout()
    if list(words) not in ([], ["check"]):
        print(f"{' '.join(words)!r} is neither `check` nor nothing", file=sys.stderr)
        return 2
    said = doubt(source_sha256(), found is not None and found.dirty)
    if words:
        print(said or f"sources {source_sha256()[:12]} are in leaderboard/releases.json; division closed takes them")
        return 0 if said is None else 1
    if found is None or found.dirty:
        print("only a checkout whose sources are those of a commit is added; commit them first", file=sys.stderr)
        return 1
    add(installed())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
