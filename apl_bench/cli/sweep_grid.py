"""What a sweep consists of: from the command line, or from a TOML file with the command line on top."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apl_bench.cli.run_options import parse_seeds
from apl_bench.spec import nearest, require
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.sweep.cells import Cell

ALL = "all"
KEYS = ("task", "preset", "strategies", "seeds", "set", "variants", "oracle", "judge")
GRIDS = "grid"


@dataclass(frozen=True)
class Wanted:
    """What the options say; None where they are silent."""

    task: str | None = None
    preset: str | None = None
    strategies: str | None = None
    seeds: str | None = None
    settings: tuple[str, ...] = ()
    oracle: str | None = None
    judge: str | None = None

    def over(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """A grid of the file, with what the options say in its place; settings come on top of its own."""
        given = {"task": self.task, "preset": self.preset, "strategies": self.strategies, "seeds": self.seeds,
                 "oracle": self.oracle, "judge": self.judge}  # fmt: skip
        changed = {key: value for key, value in given.items() if value is not None}
        return {**table, **changed, "set": [*_texts("set", table.get("set", [])), *self.settings]}


def cells_of(file: Path | None, wanted: Wanted, out: Path) -> list[Cell]:
    """The cells, each once: grid by grid and in each seed by seed, so that strategies can be compared early.

    Raises SpecError for what does not exist or cannot be.
    """
    tables = [{}] if file is None else _grids(file)
    found: dict[Path, Cell] = {}
    for table in tables:
        for cell in _cells(wanted.over(table), out):
            found.setdefault(cell.path, cell)
    return list(found.values())


def _grids(file: Path) -> list[dict[str, Any]]:
    """The file's [[grid]] tables, with what stands above them as their defaults; itself, where it has none."""
    if not file.is_file():
        raise SpecError(f"no file {str(file)!r}; expected a TOML file that describes a sweep, as docs/sweep.md shows")
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{file} is not TOML: {error}") from None
    grids = content.pop(GRIDS, [{}])
    is_list = isinstance(grids, list) and all(isinstance(grid, dict) for grid in grids)
    require(is_list and len(grids) > 0, f"{GRIDS} in {file}", grids, f"tables, each under [[{GRIDS}]]")
    tables = [{**content, **grid} for grid in grids]
    for table in tables:
        for key in table:
            if key not in KEYS:
                raise nearest(key, f"key in {file}", [*KEYS, GRIDS])
    return tables


def _cells(table: Mapping[str, Any], out: Path) -> Iterator[Cell]:
    from apl_bench.presets import Changes, resolve
    from apl_bench.registry import TASKS
    from apl_bench.sweep.cells import Cell

    seeds, settings = _seeds(table.get("seeds", "0")), _texts("set", table["set"])
    strategies = _strategies(table.get("strategies"))
    oracle, judge = (_one(key, table.get(key)) for key in ("oracle", "judge"))
    for variant, more in _variants(table.get("variants")).items():
        changes = Changes((*settings, *more), oracle, judge)
        for task in _texts("task", table.get("task", "imdb")):
            TASKS.load(task)
            for preset in _texts("preset", table.get("preset", "lite")):
                for seed in seeds:
                    for name in strategies:
                        yield Cell(resolve(task, preset, name, changes, seed), out / variant, variant)


def _strategies(value: Any) -> list[str]:
    """Names, each once; an alias is the name that it stands for."""
    from apl_bench.registry import STRATEGIES

    names = _texts("strategies", value.split(",") if isinstance(value, str) else value or [])
    if not names:
        raise SpecError(f"no strategies; expected --strategies NAME,NAME, or {ALL!r} for all there are "
                        "(apl-bench list strategies)")  # fmt: skip
    names = [each for name in names for each in (STRATEGIES.names() if name.strip() == ALL else [name.strip()])]
    for name in names:
        STRATEGIES.load(name)
    return list(dict.fromkeys(STRATEGIES.entry(name).name for name in names))


def _seeds(value: Any) -> list[int]:
    """`0-9`, a number, or a list of numbers."""
    numbers = [value] if type(value) is int else value
    if isinstance(numbers, list) and numbers and all(type(number) is int and number >= 0 for number in numbers):
        return list(dict.fromkeys(numbers))
    require(isinstance(value, str), "seeds", value, "seeds, such as '0-9' or [0, 3, 7]")
    return parse_seeds(value)


def _variants(value: Any) -> dict[str, Sequence[str]]:
    """Settings by the name of their folder; without a table there is one variant without a name."""
    if value is None:
        return {"": ()}
    require(isinstance(value, dict) and len(value) > 0, "variants", value,
            'a table of settings by name, such as continue = ["loop.regime=continue"]')  # fmt: skip
    for name in value:
        fits = name.replace("-", "").replace("_", "").isalnum() and name.isascii()
        require(fits, "the name of a variant", name, "letters, digits, '-' and '_': a folder is called so")
    return {name: _texts(f"variants.{name}", settings) for name, settings in value.items()}


def _texts(name: str, value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    is_list = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    require(is_list, name, value, "a text, or a list of texts")
    return list(texts)


def _one(name: str, value: Any) -> str | None:
    require(value is None or isinstance(value, str), name, value, "a text, such as flip(0.1, classifier)")
    return str(value) if value is not None else None
