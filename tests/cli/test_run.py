"""What `apl-bench run` takes and shows, without running a model."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from apl_bench.cli.asking import AskingOptions
from apl_bench.cli.folders import ledger_folder
from apl_bench.cli.main import main
from apl_bench.cli.progress import Progress
from apl_bench.cli.run import same_options
from apl_bench.cli.run_options import parse_seeds
from apl_bench.presets import Changes, resolve
from apl_bench.records import Run, RunWriter
from apl_bench.tally import win_rate_error
from apl_bench.types import SpecError
from tests.test_replay import GOLDEN


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(GOLDEN, tmp_path / "run")))


def console(**options: Any) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, highlight=False, width=200, **options), text


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", [0]), ("0-3", [0, 1, 2, 3]), ("7,0-1", [7, 0, 1]), ("1, 1,0-1", [1, 0]), ("3-3", [3])]
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "-1", "3-1", "a", "0-", "1,,2", "0..3", "1.5"])
def test_other_seeds_are_refused_by_their_text(text: str) -> None:
    with pytest.raises(SpecError, match=r"--seeds '.*' is not a list of seeds"):
        parse_seeds(text)


def test_the_error_of_a_run_by_hand() -> None:
    # 3 wins, 1 loss: mean .75, variance 3/4 - 9/16 = 3/16, over n - 1 = 3
    assert win_rate_error(3, 1, 0) == pytest.approx(math.sqrt(3 / 16 / 3))
    assert win_rate_error(0, 0, 8) == 0.0  # all ties: no spread
    assert math.isnan(win_rate_error(1, 0, 0))


def test_judgments_are_kept_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ledger_folder(tmp_path) == tmp_path
    monkeypatch.setenv("APL_BENCH_CACHE_DIR", "/elsewhere")
    assert ledger_folder(None) == Path("/elsewhere/judgments")
    monkeypatch.delenv("APL_BENCH_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ledger_folder(None) == tmp_path / ".cache" / "apl-bench" / "judgments"


def test_only_what_is_not_a_default_is_said_again() -> None:
    assert same_options("lite", (), Path("runs"), AskingOptions(max_calls=3)) == []
    asked = AskingOptions(judge="flip(0.1, classifier)", ledger=Path("judged"))
    given = same_options("my preset.toml", ("training.epochs=3", "strategy.width=0.2"), Path("out"), asked)
    assert given == ["--preset", "my preset.toml", "--out", "out", "--judge", "flip(0.1, classifier)",
                     "--ledger", "judged", "--set", "training.epochs=3"]  # fmt: skip


def test_next_steps_can_be_pasted(run: Run) -> None:
    out, text = console()
    Progress(out).next_steps([run], Path("my runs"), ["--out", "my runs", "--set", "loop.waypoints=[0, 8]"])
    lines = text.getvalue().splitlines()
    assert f"Written: {run.path}" in lines
    options = "--out 'my runs' --set 'loop.waypoints=[0, 8]' --seeds 0-2"
    assert f"  apl-bench run --strategy random --task imdb {options}" in lines
    assert any(line.startswith("  apl-bench compare 'my runs/imdb-lite'") for line in lines)


def test_the_curve_has_each_waypoint_with_its_error(run: Run) -> None:
    out, text = console()
    Progress(out).result(run)
    lines = text.getvalue().splitlines()
    for waypoint in run.result["waypoints"]:
        error = win_rate_error(waypoint["wins"], waypoint["losses"], waypoint["ties"])
        (line,) = (line for line in lines if line.split()[:1] == [str(waypoint["num_labels"])])
        assert line.split()[1:3] == [f"{waypoint['win_rate']:.3f}", f"{error:.3f}"]
    assert "UNSOUND" not in text.getvalue()


def test_an_unsound_run_says_so(run: Run) -> None:
    out, text = console()
    (run.path / "result.json").write_text(json.dumps({**run.result, "sound": False}))
    Progress(out).result(Run(run.path))
    assert "UNSOUND" in text.getvalue()


EVENTS: list[dict[str, Any]] = [
    {"event": "begin", "steps_done": 1, "num_steps": 2, "num_labels": 4},
    {"event": "acquired", "step": 2, "num_pairs": 4, "ties": 1, "invalid": 0, "seconds": {"sample": 1.0}},
    {"event": "trained", "step": 2, "num_updates": 3, "num_preferences": 7, "seconds": {}},
    {"event": "waypoint", "num_labels": 8, "win_rate": None, "wins": 0, "losses": 0, "ties": 0, "invalid": 4,
     "kl": None, "mean_length": 3.0, "repetition": 0.0, "seconds": {}},
    {"event": "finished", "seconds": {}},
]  # fmt: skip


def test_without_a_terminal_there_are_plain_lines_only() -> None:
    out, text = console(force_terminal=False)
    progress, spec = Progress(out), resolve("imdb", "lite", "certainty", Changes(), 0)
    with progress.running(spec, Path("runs/x")):
        for event in EVENTS:
            progress.event(event)
    assert "\x1b" not in text.getvalue()
    assert "going on after step 1 of 2" in text.getvalue()
    assert "bought 4 labels, 1 ties or invalid (1.0 s)" in text.getvalue()
    assert "8 labels: win rate - (SE nan), 4 invalid, KL -" in text.getvalue()


def test_a_terminal_gets_a_bar_and_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    for no_color in (False, True):
        if no_color:
            monkeypatch.setenv("NO_COLOR", "1")
        out, text = console(force_terminal=True, color_system="standard")
        progress, spec = Progress(out), resolve("imdb", "lite", "certainty", Changes(), 0)
        with progress.running(spec, Path("runs/x")):
            for event in EVENTS:
                progress.event(event)
        shown.append(text.getvalue())
    assert all("/512 labels" in text for text in shown)
    assert ["\x1b[32m" in text or "\x1b[1;32m" in text for text in shown] == [True, False]


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["run", *arguments])


def test_what_is_unknown_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    for arguments, near in (
        (("--strategy", "certanty"), "'certainty'"),
        (("--strategy", "certainty", "--task", "imbd"), "'imdb'"),
        (("--strategy", "certainty", "--preset", "light"), "'lite'"),
        (("--strategy", "certainty", "--set", "training.epoch=3"), "'training.epochs'"),
    ):
        done = invoke(*arguments, "--out", str(tmp_path))
        assert done.exit_code == 2
        assert f"Did you mean {near}?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def complete(folder: Path, strategy: dict[str, Any] | None = None) -> Path:
    """The golden run where `run` looks for it, its manifest as of today, but for the strategy."""
    from apl_bench.experiment import plugins
    from apl_bench.records import run_path

    golden = Run(GOLDEN)
    path = run_path(folder, golden.spec)
    shutil.copytree(GOLDEN, path)
    manifest = {**golden.manifest, **plugins(golden.spec)}
    (path / "spec.json").write_text(json.dumps({**manifest, "strategy": strategy or manifest["strategy"]}))
    return path


def golden_options() -> list[str]:
    """The options that golden's spec was resolved from, from its own tables."""
    tables = Run(GOLDEN).spec.to_tables()
    sections = [key for key, value in tables.items() if isinstance(value, dict) and "name" not in value]
    settings = [f"{s}.{k}={json.dumps(v)}" for s in sections for k, v in tables[s].items() if v is not None]
    return ["--strategy", "certainty", "--seeds", "3", *(word for setting in settings for word in ("--set", setting))]


def test_a_complete_run_is_shown_again_and_not_run(tmp_path: Path) -> None:
    path = complete(tmp_path / "runs")
    (path / "state").mkdir(exist_ok=True)
    (path / "state" / "policy-0002.safetensors").write_bytes(b"left by a kill")
    done = invoke(*golden_options(), "--out", str(tmp_path / "runs"))
    assert done.exit_code == 0, done.output
    assert f"complete already: {path}" in done.stdout
    assert "Learning curve: certainty, seed 3" in done.stdout
    assert list((path / "state").iterdir()) == []
    seconds = sum(value for event in Run(path).events() for value in event["seconds"].values())
    assert f"Where the time went: {seconds:.1f} s\n" in done.stdout


def test_a_complete_run_of_another_source_is_not_taken_for_this_one(tmp_path: Path) -> None:
    complete(tmp_path / "runs", {"origin": "apl-bench 0.1.0", "source_sha256": "0" * 64})
    done = invoke(*golden_options(), "--out", str(tmp_path / "runs"))
    assert done.exit_code == 2
    assert "was begun with another strategy: {'source_sha256': '000" in done.stderr
    assert "choose another --out" in done.stderr


def test_a_torn_log_and_half_written_files_are_mended(tmp_path: Path) -> None:
    path = complete(tmp_path)
    (path / "result.json").unlink()
    with (path / "events.jsonl").open("a") as file:
        file.write('{"event":"acq')
    for name in (".result.json.99.new", "state/.policy-0001.safetensors.99.tmp"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("half")
    writer = RunWriter(path)
    writer.open(Run(path).manifest)
    writer.event(event="begin")
    writer.close()
    events = [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]
    assert events[-1] == {"event": "begin"}
    assert not [file for file in path.rglob(".*") if file.name != ".lock"]
