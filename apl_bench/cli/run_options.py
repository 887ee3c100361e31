"""The options by which a command says what is run: the task, its scale, the seeds, and where runs are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from apl_bench.types import SpecError

_OPTIONS = (
    click.option("--task", default="imdb", show_default=True, help="Task; see: apl-bench list tasks"),
    click.option("--preset", default="lite", show_default=True,
                 help="Scale, or a TOML file of your own; see: apl-bench list presets"),
    click.option("--seeds", default="0", show_default=True, help="Seeds, such as 0-4 or 0,3,7"),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
                 help="Change a setting, such as training.epochs=3"),
    click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
                 help="Where runs are written"),
)  # fmt: skip


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options, as parameters `task`, `preset`, `seeds`, `settings` and `out`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def parse_seeds(text: str) -> list[int]:
    """`0-4,7` -> [0, 1, 2, 3, 4, 7]. Raises SpecError for what is no such list."""
    return parse_numbers("--seeds", text, "0-4 or 0,3,7")


def parse_numbers(option: str, text: str, example: str) -> list[int]:
    """The numbers and ranges that an option lists, each once. Raises SpecError for what is no such list."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or int(last or first) < int(first):
            raise SpecError(
                f"{option} {text!r} is not a list of {option.removeprefix('--')}; expected numbers and ranges, such as "
                f"{example}"
            )
        numbers += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(numbers))
