"""compare: what is printed, and what is drawn and where."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.cli.compared import Write, call


def test_csv_has_a_line_for_each_strategy_and_waypoint(compared: Write, tmp_path: Path) -> None:
    compared("certainty", 0, "wwww")
    compared("random", 0, "wwll")
    lines = list(csv.DictReader(io.StringIO(call(tmp_path, "--csv").stdout)))
    assert [(line["strategy"], line["num_labels"]) for line in lines] == [
        ("certainty", "0"), ("certainty", "8"), ("random", "0"), ("random", "8"),
    ]  # fmt: skip
    assert float(lines[1]["difference"]) == 0.5
    assert lines[3]["difference"] == ""
    assert lines[1]["se_seeds"] == ""


def test_json_and_csv_together_are_refused(compared: Write) -> None:
    assert call(compared("random", 0, "wwww"), "--json", "--csv").exit_code == 2


def test_figures_go_beside_the_strategies_or_where_they_are_asked_for(compared: Write, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for strategy in ("certainty", "random"):
        path = compared(strategy, 0, "wwwl")
    assert call(tmp_path).exit_code == 0
    for name in ("curves.png", "acquired.png"):
        assert (path.parent.parent / name).read_bytes().startswith(b"\x89PNG")
    assert call(tmp_path, "--json", "--out", tmp_path / "figures").exit_code == 0
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == ["acquired.png", "curves.png"]


def test_figures_of_several_comparisons_do_not_overwrite_each_other(compared: Write, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    compared("random", 0, "wwwl", preset="../../x", training__epochs=3)
    compared("random", 0, "wwwl", preset="../../x")
    out = tmp_path / "figures"
    assert call(tmp_path, "--out", out).exit_code == 0
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.png")) == [
        f"imdb-.._.._x_training.epochs_{epochs}_/{name}.png" for epochs in (1, 3) for name in ("acquired", "curves")
    ]


def test_no_figure_is_written_into_a_run_or_for_a_machine(compared: Write, tmp_path: Path) -> None:
    path = compared("random", 0, "wwwl")
    assert call(path, "--json").exit_code == 0
    assert not list(tmp_path.rglob("*.png"))
    assert call(path).exit_code == 0
    assert not list(path.rglob("*.png"))


def test_without_matplotlib_the_table_comes_first_and_figures_fail_only_if_asked_for(
    compared: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = compared("random", 0, "wwwl")
    monkeypatch.setattr("apl_bench.cli.compare.find_spec", lambda name: None)
    done = call(path)
    assert done.exit_code == 0
    assert "win rate" in done.stdout
    assert "pip install 'apl-bench[plots]'" in done.stderr
    assert call(path, "--figures").exit_code == 1


def test_untrusted_names_reach_the_terminal_without_escapes(compared: Write, tmp_path: Path) -> None:
    compared("random", 0, "wwwl", params={"note": "\x1b[31mred\u202e"})
    done = call(tmp_path, "--no-figures")
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "random(note=[31mred)" in done.stdout
