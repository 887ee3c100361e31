"""What `apl-bench run` writes of the tests' cells, each computed once for all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner

from apl_bench.cli.main import main
from apl_bench.sweep.cells import Cell
from tests.sweep.tiny import OPTIONS, cell

Alone = Callable[[str, int], Cell]


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """By strategy and seed: the cell as a command of its own ran it, with no store. Not to be written to."""
    root = tmp_path_factory.mktemp("alone")

    def run(strategy: str, seed: int) -> Cell:
        made = cell(root, strategy, seed)
        if not made.run.complete:
            command = ["run", "--strategy", strategy, "--seeds", str(seed), *OPTIONS]
            done = CliRunner().invoke(main, [*command, "--out", str(root), "--ledger", str(root / "ledger")])
            assert done.exit_code == 0, done.output
        return made

    return run
