"""The folders at the root are parts of the package: linked, refused under their bare names, real files in a wheel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
LINKED = ("strategies", "oracles", "tasks", "leaderboard", "benchmarks")


@pytest.mark.parametrize("name", LINKED)
def test_a_folder_is_linked_relatively_and_refuses_its_bare_name(name: str) -> None:
    assert Path("..", name) == (ROOT / "apl_bench" / name).readlink()
    command = [sys.executable, "-c", f"import {name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"import apl_bench.{name}, not '{name}'" in done.stderr


def test_a_wheel_holds_real_files_in_one_package(tmp_path: Path) -> None:
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with ZipFile(built) as wheel:
        names = wheel.namelist()
        for name in LINKED:
            module = f"apl_bench/{name}/__init__.py"
            assert wheel.read(module) == (ROOT / module).read_bytes()
    assert "apl_bench/benchmarks/suites.py" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"apl_bench"}
