"""apl-bench new: what it writes works as it stands, and what it would hide is refused."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from apl_bench.cli.main import main
from apl_bench.cli.new import package
from apl_bench.types import SpecError

ROOT = Path(__file__).parents[2]


def call(name: str) -> Result:
    return CliRunner().invoke(main, ["new", "strategy", name])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def python_beside(folder: Path) -> Path:
    """A Python of its own that also sees what is installed for the tests; installing into it changes nothing else."""
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "beside.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    return folder / "bin" / "python"


def test_a_new_package_installs_and_passes_its_checks_as_it_stands(tmp_path: Path) -> None:
    assert call("my_idea").exit_code == 0
    python = str(python_beside(tmp_path / "venv"))
    offline = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    for command in (
        [sys.executable, "-m", "pip", "--python", python, "install", *offline, "--editable", "my_idea"],
        [python, "-m", "apl_bench", "check", "strategy", "my_idea"],
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "my_idea"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    listed = subprocess.run(
        [python, "-m", "apl_bench", "list", "strategies"], capture_output=True, text=True, check=True
    )
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("my_idea")]
    assert re.split(" {2,}", line) == ["my_idea", "say in one line which pairs it buys", "apl-my-idea 0.1.0"]


def test_names_of_module_class_and_distribution_follow_the_name() -> None:
    files = package("big-gap-2")
    assert sorted(files) == ["big_gap_2.py", "pyproject.toml", "test_big_gap_2.py"]
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == "apl-big-gap-2"
    assert project["entry-points"]["apl_bench.strategies"] == {"big-gap-2": "big_gap_2:BigGap2"}
    assert "class BigGap2(Strategy):" in files["big_gap_2.py"]


@pytest.mark.parametrize("name", ["My_Idea", "../up", "a/b", "2fast", "a__b", "", "class", "x\x1b[2J"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    done = call(name)
    assert done.exit_code == 2
    assert "cannot name a strategy; expected small letters" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("name", ["certainty", "sharp"])
def test_a_taken_name_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=f"the name '{name}' is taken by apl-bench"):
        package(name)


@pytest.mark.parametrize("name", ["numpy", "random-", "json"])
def test_a_module_is_never_hidden(name: str) -> None:
    assert call(name).exit_code == 2
    assert not Path(name).exists()


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "my_idea").mkdir()
    assert call("my_idea").exit_code == 2
    assert list((tmp_path / "my_idea").iterdir()) == []
