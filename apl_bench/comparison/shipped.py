"""A run's settings beside those of the preset as it ships, and the checksum by which settings are the same."""

from __future__ import annotations

import hashlib

from apl_bench.comparison.grouping import leaves
from apl_bench.judgments.keys import canonical
from apl_bench.presets import Changes, resolve
from apl_bench.spec import RunSpec
from apl_bench.types import SpecError

PRESET_PREFIX = "apl-preset/1"


def settings_sha256(spec: RunSpec) -> str:
    """sha256 over the canonical JSON of all settings but strategy and seed, hex."""
    tables = {name: table for name, table in spec.to_tables().items() if name not in ("strategy", "seed")}
    return hashlib.sha256(canonical([PRESET_PREFIX, tables])).hexdigest()


def shipped_spec(spec: RunSpec) -> RunSpec | None:
    """The same run by the preset as it ships today; None where no preset of this name does."""
    try:
        return resolve(spec.task.name, spec.preset, spec.strategy.name, Changes(), spec.seed)
    except SpecError:
        return None


def changes_of(spec: RunSpec) -> tuple[str, ...]:
    """Settings that differ from the preset as it ships, `table.key=value`; all of them where no such preset ships."""
    shipped = shipped_spec(spec)
    before = dict(leaves(shipped.to_tables())) if shipped else {}
    after = dict(leaves(spec.to_tables()))
    changed = [f"{key}={value}" for key, value in after.items() if before.get(key, _Absent) != value]
    return (*changed, *(f"{key} left out" for key in before if key not in after))


class _Absent:
    """No setting has this value."""
