"""apl-bench list."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from apl_bench import presets
from apl_bench.cli.list import REGISTRIES, as_dict, what
from apl_bench.cli.main import main
from apl_bench.registry import STRATEGIES, Entry


def call(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["--no-plugins", "list", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_name_has_a_line_with_its_summary_and_origin(kind: str) -> None:
    lines = {line.split()[0]: line for line in call(kind).splitlines()[1:]}
    assert sorted(lines) == REGISTRIES[kind].names()
    assert all(line.endswith("apl-bench 0.1.0") for line in lines.values())


def test_presets_are_described_by_themselves() -> None:
    for name, line in zip(presets.names(), call("presets").splitlines()[1:], strict=True):
        assert line.startswith(name)
        assert presets.describe(name) in line


def test_aliases_are_shown() -> None:
    assert "(also: sharp, bt-entropy, least-confidence)" in call("strategies")


def test_json_has_the_same_and_no_kind_means_all() -> None:
    found = json.loads(call("--json"))
    assert list(found) == ["strategies", "tasks", "oracles", "wrappers", "presets"]
    assert [entry["name"] for entry in found["strategies"]] == [entry.name for entry in STRATEGIES.entries()]
    assert set(found["tasks"][0]) == {"name", "summary", "origin", "aliases", "error"}


def test_an_unknown_kind_is_refused() -> None:
    assert CliRunner().invoke(main, ["list", "strategy"]).exit_code == 2


def test_a_broken_entry_shows_its_error_on_one_line() -> None:
    entry = Entry("bad", "bad:Bad", "", "bad 1.0", error="ImportError: no\n\x1b[31mmodule")
    assert what(entry) == "error: ImportError: no [31mmodule"
    assert as_dict(entry)["error"] == "ImportError: no\n\x1b[31mmodule"
