"""Names, built-ins that are imported late, and plugins: real, broken, and with a name that is not theirs to take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apl_bench.protocols import Strategy
from apl_bench.registry import ORACLES, STRATEGIES, TASKS, Builtin, Registry, without_plugins
from apl_bench.types import SpecError

PLUGINS = Path(__file__).parent / "plugins"
BASE = "apl_bench.protocols:Strategy"

MODULE = """
from apl_bench.protocols import Strategy
class {name}(Strategy):
    summary = "what {name} does"
    def __init__(self, width=1, *, shift=0):
        self.width, self.shift = width, shift
    def select(self, pool, num_pairs, rng):
        raise NotImplementedError
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a distribution importable: install("dist", group, {"name": "module:Class"}, {"module": source})."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(dist: str, group: str, points: dict[str, str], modules: dict[str, str]) -> None:
        folder = tmp_path / f"{dist}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {target}\n" for name, target in points.items())
        (folder / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)

    return write


@pytest.fixture
def group(request: pytest.FixtureRequest) -> str:
    """An entry-point group of this test alone: what is installed is looked up once in a process."""
    return f"tests.{request.node.name}"


def make(group: str) -> Registry[Any]:
    """A registry with one built-in whose module does not exist: importing it would raise."""
    return Registry("strategy", group, BASE, {"certainty": Builtin("no_such_module:Certainty", "margins", ("sure",))})


def test_builtins_are_described_without_being_imported(group: str) -> None:
    registry = make(group)
    assert registry.names() == ["certainty"]
    (entry,) = registry.entries()
    assert (entry.name, entry.summary, entry.origin, entry.error) == ("certainty", "margins", "apl-bench 0.1.0", None)
    assert registry.entry("sure") == entry
    with pytest.raises(ModuleNotFoundError):
        registry.load("certainty")


def test_the_nearest_name_is_offered(group: str) -> None:
    with pytest.raises(SpecError) as raised:
        make(group).load("certanty")
    assert str(raised.value) == "no strategy called 'certanty'. Did you mean 'certainty'? There are: certainty"


def test_a_plugin_is_found_described_and_made(group: str, install: Callable[..., None]) -> None:
    install("mine", group, {"wide": "mine_a:Wide"}, {"mine_a": MODULE.format(name="Wide")})
    registry = make(group)
    assert registry.names() == ["certainty", "wide"]
    entry = registry.entry("wide")
    assert (entry.summary, entry.origin, entry.error) == ("what Wide does", "mine 1.0", None)
    made = registry.create("wide", {"shift": 3})
    assert isinstance(made, Strategy)
    assert (made.width, made.shift) == (1, 3)  # type: ignore[attr-defined]


def test_an_unknown_parameter_is_answered_with_the_nearest(group: str, install: Callable[..., None]) -> None:
    install("mine", group, {"wide": "mine_b:Wide"}, {"mine_b": MODULE.format(name="Wide")})
    with pytest.raises(SpecError) as raised:
        make(group).create("wide", {"widht": 2})
    expected = "no parameter of the strategy 'wide' called 'widht'. Did you mean 'width'? There are: shift, width"
    assert str(raised.value) == expected


def test_a_parameter_without_a_default_is_asked_for(group: str, install: Callable[..., None]) -> None:
    source = MODULE.format(name="Wide").replace("width=1", "width")
    install("mine", group, {"wide": "mine_c:Wide"}, {"mine_c": source})
    with pytest.raises(SpecError, match="the strategy 'wide' needs a value for: width"):
        make(group).create("wide", {"shift": 1})


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("Broken = 3", "is not a subclass of apl_bench.protocols.Strategy"),
        ("class Broken: ...", "is not a subclass of apl_bench.protocols.Strategy"),
        ("from apl_bench.protocols import Strategy\nclass Broken(Strategy): ...", "lacks select"),
    ],
)
def test_a_broken_plugin_is_listed_with_its_error_and_breaks_nothing_else(
    install: Callable[..., None], source: str, error: str, tmp_path: Path
) -> None:
    group = module = f"broken_{tmp_path.name.replace('-', '_')}"
    install("bad", group, {"broken": f"{module}:Broken"}, {module: source})
    install("good", group, {"wide": f"{module}_good:Wide"}, {f"{module}_good": MODULE.format(name="Wide")})
    registry = make(group)
    by_name = {entry.name: entry for entry in registry.entries()}
    assert error in str(by_name["broken"].error)
    assert by_name["wide"].error is by_name["certainty"].error is None
    registry.create("wide", {})
    with pytest.raises(SpecError, match=r"the strategy 'broken' of bad 1\.0 cannot be used: "):
        registry.load("broken")


@pytest.mark.parametrize("name", ["certainty", "sure"])
def test_a_plugin_cannot_take_the_name_of_a_builtin(name: str, install: Callable[..., None], tmp_path: Path) -> None:
    group = f"taken_{tmp_path.name}"
    install("thief", group, {name: "thief:Thief"}, {"thief": "raise AssertionError('must not be imported')"})
    registry = make(group)
    assert registry.entry(name).target == "no_such_module:Certainty"
    assert registry.names() == ["certainty"]
    (refused,) = [entry for entry in registry.entries() if entry.origin == "thief 1.0"]
    assert f"{name!r} of thief 1.0 is refused: the name belongs to apl-bench" in str(refused.error)


def test_two_plugins_of_one_name_are_both_refused(group: str, install: Callable[..., None]) -> None:
    for dist in ("one", "two"):
        install(dist, group, {"wide": f"twice_{dist}:Wide"}, {f"twice_{dist}": MODULE.format(name="Wide")})
    registry = make(group)
    with pytest.raises(SpecError, match=r"'wide' is taken by two strategy plugins, one 1\.0 and two 1\.0; uninstall"):
        registry.load("wide")
    assert [entry.error is None for entry in registry.entries()] == [True, False, False]


def test_without_plugins_only_builtins_exist(group: str, install: Callable[..., None]) -> None:
    install("mine", group, {"wide": "mine_d:Wide"}, {"mine_d": MODULE.format(name="Wide")})
    registry = make(group)
    with without_plugins():
        assert registry.names() == ["certainty"]
        with pytest.raises(SpecError, match="no strategy called 'wide'"):
            registry.load("wide")
    assert registry.names() == ["certainty", "wide"]


def test_an_entry_point_that_names_no_class_is_listed_with_its_error(group: str, install: Callable[..., None]) -> None:
    install("mine", group, {"wide": "json"}, {})
    assert "'json' is not of the form module:Class" in str(make(group).entry("wide").error)


@pytest.mark.parametrize("registry", [STRATEGIES, TASKS, ORACLES], ids=lambda registry: registry.kind)
def test_every_builtin_can_be_loaded_and_says_what_the_table_says(registry: Registry[Any]) -> None:
    with without_plugins():
        for entry in registry.entries():
            assert registry.load(entry.name).summary == entry.summary, entry.name


def apl_bench(path: Path, *arguments: str) -> dict[str, Any]:
    """The JSON that the command prints where `path` is installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(Path.cwd())])}
    command = [sys.executable, "-m", "apl_bench", *arguments, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_real_package_is_installed_listed_and_loaded(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(tmp_path), str(PLUGINS / "shortest")], check=True)
    (entry,) = [e for e in apl_bench(tmp_path, "list", "strategies")["strategies"] if e["name"] == "shortest"]
    assert entry["origin"] == "apl-shortest 1.2.0"
    assert entry["summary"] == "pairs of the shortest prompts"
    assert entry["error"] is None
    without = apl_bench(tmp_path, "--no-plugins", "list", "strategies")["strategies"]
    assert "shortest" not in [e["name"] for e in without]
