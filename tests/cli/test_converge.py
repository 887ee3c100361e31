"""apl-bench converge: what it says before, between and after; what it draws; what it refuses."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from apl_bench.cli.converge import converge, show
from apl_bench.cli.main import main
from apl_bench.cli.run import run
from apl_bench.comparison import Beside
from apl_bench.convergence import Choice, Curve, Point
from apl_bench.presets import Changes, resolve
from apl_bench.statistics import Estimate
from tests.test_runner import TINY

SMALL = tuple(word for setting in TINY if not setting.startswith("training.epochs") for word in ("--set", setting))


def invoke(folder: Path, *arguments: str) -> Result:
    given = ["converge", *arguments, "--out", str(folder / "runs"), "--ledger", str(folder / "ledger")]
    return CliRunner().invoke(main, given)


def estimate(mean: float, error: float, num_seeds: int = 1) -> Estimate:
    return Estimate(mean, error if num_seeds > 1 else float("nan"), error, num_seeds)


def point(num_labels: int, epoch: int, rate: float, num_seeds: int = 1, held_out: float | None = 0.6) -> Point:
    loss = estimate(0.5 / epoch, 0.02, num_seeds)
    aside = None if held_out is None else estimate(held_out, 0.03, num_seeds)
    return Point(num_labels, epoch, loss, aside, estimate(rate, 0.02, num_seeds),
                 Beside(1.5, 20.0, 0.01, None), 0.0, is_sound=True)  # fmt: skip


def curve(num_labels: int, rates: Sequence[float], choice: Choice | None, **changes: Any) -> Curve:
    points = (point(num_labels, epoch, rate, **changes) for epoch, rate in zip((1, 2, 4), rates, strict=True))
    return Curve(num_labels, tuple(points), choice)


RISING = curve(128, (0.6, 0.7, 0.8), Choice(4, 4, None))
FLAT = curve(512, (0.8, 0.82, 0.81), Choice(2, 1, estimate(-0.02, 0.025)))
SPEC = resolve("imdb", "lite", "random", Changes(), 0)


def shown(capsys: pytest.CaptureFixture[str], found: Sequence[Curve], folder: Path) -> tuple[list[str], str]:
    show([SPEC], found, folder)
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err


def test_it_takes_the_options_of_run_with_their_defaults_but_trackers() -> None:
    ours = {option.name: option for option in converge.params}
    for option in (option for option in run.params if option.name != "track"):
        assert option.name in ours
        assert ours[option.name].opts == option.opts
        assert option.name == "strategy" or ours[option.name].default == option.default
    assert ours["strategy"].default == "random"


def test_the_plan_counts_everything_asks_nobody_and_loads_no_model(tmp_path: Path) -> None:
    arguments = ["converge", "--labels", "128,512", "--epochs", "1-10", "--seeds", "0-2", "--plan", "--judge",
                 "openai(gpt-4.1-mini, template=paper-sentiment-v1)", "--max-cost", "1"]  # fmt: skip
    program = f"""
import sys
from apl_bench.cli.main import main
main({arguments!r}, standalone_mode=False)
print([name for name in ("torch", "transformers", "openai", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:5]}
    assert rows == {
        "labels": [str(3 * (512 + 128)), str(3 * (512 + 128))],
        "judgments": [str(3 * 2 * 10 * 1024)] * 2,
        "trainings": ["6", "6"],
    }
    assert "384 of the labels are held out (step 0)" in done.stdout
    assert "--max-cost 1 is not enough: $" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_ends_with_a_choice_and_says_the_same_again_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--labels", "8,4", "--epochs", "1-2", "--seeds", "0,1", *SMALL)
    first = invoke(tmp_path, *arguments)
    assert first.exit_code == 0, first.output
    monkeypatch.setattr("apl_bench.experiment.prepare", None)  # whoever calls it fails
    again = invoke(tmp_path, *arguments)
    assert again.exit_code == 0, again.output
    start = "imdb-lite, random, 2 seeds, 12 test prompts"
    assert again.stdout[again.stdout.index(start) :] == first.stdout[first.stdout.index(start) :]
    assert [line.split()[1:] for line in again.stdout.splitlines()[2:5]] == [["24", "0"], ["96", "0"], ["4", "0"]]
    assert [line.split(":")[0] for line in again.stdout.splitlines()[-2:]] == ["4 labels", "8 labels"]
    (folder,) = (tmp_path / "runs" / "imdb-lite" / "converge").iterdir()
    assert {path.name for path in folder.iterdir()} == {"convergence.csv", "convergence.png", "seed-000", "seed-001"}
    with (folder / "convergence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["num_labels"], row["epochs"]) for row in rows] == [("4", "1"), ("4", "2"), ("8", "1"), ("8", "2")]
    assert all(0 <= float(row["win_rate"]) <= 1 and float(row["se_seeds"]) >= 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--labels", "128", "--epochs", "0"), "--epochs is [0]; expected increasing numbers from 1 on"),
        (("--labels", "128", "--epochs", "two"), "--epochs 'two' is not a list of epochs; expected numbers and ranges, "
         "such as 1-10 or 1,2,4,8"),
        (("--labels", "-128", "--epochs", "1"), "--labels '-128' is not a list of labels"),
        (("--labels", "100", "--epochs", "1"), "--labels is 100; expected multiples of loop.labels_per_step = 128"),
        (("--labels", "128", "--epochs", "1", "--strategy", "randon"), "Did you mean 'random'?"),
        (("--labels", "128", "--epochs", "1", "--preset", "lite-online"), "loop.regime is 'online'; expected restart"),
        (("--labels", "128", "--epochs", "1", "--set", "training.epochs=3"), "--set training.epochs=3 says nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = invoke(tmp_path, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_cap_is_kept_and_said_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    oracle = "openai(gpt-4.1-mini, template=paper-sentiment-v1)"
    done = invoke(tmp_path, "--labels", "4", "--epochs", "1", "--oracle", oracle, "--max-calls", "0", *SMALL)
    assert done.exit_code == 2
    assert "--max-calls 0 is not enough: 8 expected" in done.stdout
    assert done.stderr.startswith("error: --max-calls 0 would be passed: with the next call it could be 1")
    assert list((tmp_path / "runs").rglob("steps")) == []


def test_choices_say_no_more_than_the_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines, _ = shown(capsys, [RISING, FLAT, curve(640, (0.5, 0.5, 0.5), None)], tmp_path)
    assert lines[-3:] == [
        "128 labels: best win rate 0.800 ±0.020, after 4 epochs; the most that was measured, so that more may be "
        "better; no fewer are within one SE of it",
        "512 labels: best win rate 0.820 ±0.020, after 2 epochs; the fewest within one SE of it: 1 epoch "
        "(-0.020 ±0.025)",
        "640 labels: no choice, as there are epochs at which no verdict could be read",
    ]
    assert any(line.startswith("note: one seed: SE is over the test prompts alone") for line in lines)


def test_the_table_has_every_point_and_a_dash_where_nothing_is_held_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines, _ = shown(capsys, [RISING, curve(512, (0.8, 0.82, 0.81), None, held_out=None)], tmp_path)
    assert lines[2].split() == ["labels", "epochs", "loss", "held", "out", "win", "rate", "SE", "KL", "length",
                                "repetition"]  # fmt: skip
    assert lines[3].split() == ["128", "1", "0.5000", "0.6000", "0.6000", "0.0200", "1.50", "20.0", "0.010"]
    assert lines[8].split()[:4] == ["512", "4", "0.1250", "-"]


def test_without_matplotlib_it_says_what_to_install_and_ends_well(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("apl_bench.cli.converge.find_spec", lambda name: None if name == "matplotlib" else find(name))
    lines, errors = shown(capsys, [RISING], tmp_path)
    assert "figures need matplotlib: pip install 'apl-bench[plots]'" in errors
    assert lines[-1].startswith("128 labels: best")
    assert {path.name for path in tmp_path.iterdir()} == {"convergence.csv"}


def test_the_figure_has_a_line_for_each_number_of_labels_in_both_panels(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from apl_bench.cli import convergence_figure as figure

    made: list[Any] = []

    class Kept(figure.Figure):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    several = [curve(num, (0.6, 0.7, 0.8), None, num_seeds=3) for num in (128, 512)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure, "Figure", Kept)
        figure.draw_convergence([RISING, FLAT], "imdb-lite", tmp_path / "one.png")
        figure.draw_convergence(several, "imdb-lite", tmp_path / "several.png")
    for drawn, num_bands in zip(made, ((0, 2), (4, 2)), strict=True):
        losses, rates = drawn.axes
        assert [len(losses.lines), len(rates.lines)] == [4, 3]  # held out beside training; and the line at a half
        assert (len(losses.collections), len(rates.collections)) == num_bands  # one seed: no error of a loss
        assert [text.get_text() for text in rates.get_legend().get_texts()] == ["128", "512"]
        assert [text.get_text() for text in losses.get_legend().get_texts()] == ["training", "held out"]
    heights = [tuple(np.round(np.asarray(line.get_ydata(), dtype=float), 3)) for line in made[0].axes[0].lines]
    assert heights == [(0.5, 0.25, 0.125), (0.6, 0.6, 0.6)] * 2


def test_the_same_curves_give_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from apl_bench.cli.convergence_figure import draw_convergence

    for name in ("one.png", "two.png"):
        draw_convergence([RISING, FLAT], r"a $\frac{ title", tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
