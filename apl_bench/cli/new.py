"""apl-bench new: a small package to start a plugin from."""

from __future__ import annotations

import keyword
import re
from importlib.util import find_spec
from pathlib import Path
from string import Template

import click

from apl_bench import __version__
from apl_bench.cli.console import safe
from apl_bench.registry import STRATEGIES
from apl_bench.types import SpecError

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")

PYPROJECT = Template("""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "apl-$distribution"
version = "0.1.0"
description = "An acquisition strategy for apl-bench"
requires-python = ">=3.11"
dependencies = ["apl-bench>=$version"]

[project.entry-points."apl_bench.strategies"]
"$name" = "$module:$cls"

[tool.hatch.build]
dev-mode-dirs = ["."]

[tool.hatch.build.targets.wheel]
only-include = ["$module.py"]
""")

MODULE = Template('''\
"""`$name`: say here which pairs it buys, and why they should be worth a label."""

from __future__ import annotations

import numpy as np

from apl_bench.pool import CandidatePool
from apl_bench.protocols import Strategy
from apl_bench.selection import best
from apl_bench.types import Acquisition


class $cls(Strategy):
    """Parameters, if it has any, are keyword arguments of `__init__`; `--set strategy.NAME=VALUE` sets them."""

    summary = "say in one line which pairs it buys"

    def select(self, pool: CandidatePool, num_pairs: int, rng: np.random.Generator) -> Acquisition:
        """The `num_pairs` pairs of the largest score; `best` breaks ties with `rng`, so that the seed decides them."""
        pairs = pool.all_pairs
        scores = np.abs(pool.margin(pairs))  # your idea: one number a pair, from what the pool offers
        return best(pairs, scores, num_pairs, rng)
''')

TEST = Template('''\
"""What every strategy owes the benchmark; add what is special about this one."""

from apl_bench.checks import check_strategy
from $module import $cls


def test_keeps_the_contract() -> None:
    assert check_strategy($cls) == []
''')


@click.command()
@click.argument("kind", type=click.Choice(["strategy"]))
@click.argument("name")
def new(kind: str, name: str) -> None:
    """Write an installable package for a strategy called NAME into a new folder ./NAME."""
    folder = Path(name)
    for path, text in package(name).items():
        write_new(folder / path, text)
    click.echo(f"wrote {safe(folder)}/. Next:")
    click.echo(f"  pip install -e {name}")
    click.echo(f"  apl-bench check {kind} {name}")
    click.echo(f"  apl-bench run --strategy {name}")
    click.echo(f"Then edit select() in {folder / module_of(name)}.py: the changes are there at once, and what was run")
    click.echo("before them is kept apart: run the new code with another --out.")


def package(name: str) -> dict[str, str]:
    """The files of a strategy's package by name; raises SpecError for a name that is taken or cannot be one."""
    refuse_name(name)
    module = module_of(name)
    words = {
        "name": name,
        "module": module,
        "cls": "".join(word.capitalize() for word in module.split("_")),
        "distribution": module.replace("_", "-"),
        "version": __version__,
    }
    files = {"pyproject.toml": PYPROJECT, f"{module}.py": MODULE, f"test_{module}.py": TEST}
    return {path: template.substitute(words) for path, template in files.items()}


def module_of(name: str) -> str:
    """The module of a name."""
    return name.replace("-", "_")


def refuse_name(name: str) -> None:
    """Raise SpecError for a name that is no name, is registered, or would hide another module."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(module_of(name)):
        raise SpecError(f"{name!r} cannot name a strategy; expected small letters, digits and single _ or -, "
                        "a letter first, such as my_idea")  # fmt: skip
    taken = {*STRATEGIES.names(), *(alias for entry in STRATEGIES.entries() for alias in entry.aliases)}
    if name in taken:
        raise SpecError(f"the name {name!r} is taken by {STRATEGIES.entry(name).origin}; choose another")
    if Path(name).exists():
        raise SpecError(f"./{name} is already there; choose another name, or remove it first")
    if find_spec(module_of(name)) is not None:
        raise SpecError(f"a module called {module_of(name)!r} is already installed and would be hidden; choose another")


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet."""
    path.parent.mkdir(exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
