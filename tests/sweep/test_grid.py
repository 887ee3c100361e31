"""From options and files to cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from apl_bench.cli.sweep_grid import Wanted, cells_of
from apl_bench.registry import STRATEGIES
from apl_bench.types import SpecError


def names(file: Path | None, wanted: Wanted) -> list[str]:
    return [cell.name for cell in cells_of(file, wanted, Path("runs"))]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return path


def test_options_make_a_grid_seed_by_seed() -> None:
    wanted = Wanted(strategies="random, sharp,random", seeds="0-1,7")
    assert names(None, wanted) == [
        f"imdb-lite {name}, seed {seed}" for seed in (0, 1, 7) for name in ("random", "uncertainty")
    ]


def test_all_is_every_strategy() -> None:
    assert len(names(None, Wanted(strategies="all"))) == len(STRATEGIES.names())
    assert names(None, Wanted(strategies="certainty,all"))[0] == "imdb-lite certainty, seed 0"


FILE = """
strategies = ["random", "certainty"]
seeds = "0-1"
set = ["training.epochs=3"]

[variants]
restart = []
online = ["loop.regime=online", "training.epochs=1"]

[[grid]]

[[grid]]
task = "tldr"
seeds = [5]
strategies = "random"
variants = { plain = [] }
"""


def test_a_file_has_grids_with_defaults_and_variants_in_folders_of_their_own(tmp_path: Path) -> None:
    cells = cells_of(written(tmp_path, FILE), Wanted(), Path("runs"))
    assert len(cells) == 2 * 2 * 2 + 1
    online = [cell for cell in cells if cell.variant == "online"]
    assert {cell.path.parts[1] for cell in online} == {"online"}
    assert {(cell.spec.loop.regime, cell.spec.training.epochs) for cell in online} == {("online", 1)}
    assert {(cell.spec.loop.regime, cell.spec.training.epochs) for cell in cells[:4]} == {("restart", 3)}
    assert cells[-1].name == "tldr-lite (plain) random, seed 5"


def test_options_stand_above_the_file(tmp_path: Path) -> None:
    wanted = Wanted(seeds="3", strategies="entropy", settings=("training.epochs=4",))
    cells = cells_of(written(tmp_path, FILE), wanted, Path("runs"))
    assert {(cell.spec.seed, cell.spec.strategy.name) for cell in cells} == {(3, "entropy")}
    assert [cell.spec.training.epochs for cell in cells] == [4, 1, 4], "a variant's own settings come last"


def test_presets_and_tasks_may_be_several(tmp_path: Path) -> None:
    text = 'preset = ["lite", "lite-online"]\nstrategies = "random"\noracle = "flip(0.1, classifier)"'
    cells = cells_of(written(tmp_path, text), Wanted(), Path("runs"))
    assert [cell.table for cell in cells] == ["imdb-lite", "imdb-lite-online"]
    assert {cell.spec.oracle.wrappers[0].name for cell in cells} == {"flip"}


def test_the_same_cell_twice_is_one(tmp_path: Path) -> None:
    assert len(names(written(tmp_path, 'strategies = "random"\n[[grid]]\n[[grid]]'), Wanted())) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = 1", "Did you mean 'seeds'"),
        ("grid = 1", "each under"),
        ("grid = []", "each under"),
        ("seeds = [-1]", "seeds is"),
        ("seeds = [true]", "seeds is"),
        ("seeds = 1.5", "seeds is"),
        ('strategies = ["certanty"]', "Did you mean 'certainty'"),
        ('strategies = "random"\ntask = 3', "task is 3"),
        ('strategies = "random"\noracle = 3', "oracle is 3"),
        ('strategies = "random"\nvariants = 3', "variants is 3"),
        ('strategies = "random"\n[variants]\n"../x" = []', "the name of a variant"),
        ('strategies = "random"\n[variants]\nx = 3', "variants.x is 3"),
        ('strategies = "random"\nset = ["loop.regimes=online"]', "Did you mean 'loop.regime'"),
        ("", "no strategies"),
        ("=", "is not TOML"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said.replace("(", r"\(")):
        cells_of(written(tmp_path, text), Wanted(), Path("runs"))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(SpecError, match=r"no file 'none.toml'.*docs/sweep.md"):
        cells_of(Path("none.toml"), Wanted(), Path("runs"))
