"""From an honest submission of tiny runs to its records, the site, and the check of both."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from apl_bench.cli.main import main
from apl_bench.comparison.grouping import groups_of
from apl_bench.leaderboard.site.boards import boards
from apl_bench.leaderboard.site.recording import wrong_records
from apl_bench.leaderboard.site.store import Store
from apl_bench.records import find_runs
from tests.leaderboard.submitted import SEEDS, STRATEGIES, tiny_preset

ROOT = Path(__file__).parents[2]
RECORDS = ("verification.json", "outcomes.json", "controls.json")


@pytest.fixture(scope="session")
def recorded_once(made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `leaderboard` and `site`, recorded and built by the commands."""
    root = tmp_path_factory.mktemp("recorded")
    shutil.copytree(made_once / "out" / "tiny-runs", root / "leaderboard" / "submissions" / "tiny-runs")
    with tiny_preset(made_once / "presets"):
        done = call(root, "record", "--workers", "1")
        assert done.exit_code == 0, done.output
        assert "tiny-runs: 8 runs verified" in done.stdout
        assert call(root, "build", "--out", root / "site").exit_code == 0
    return root


@pytest.fixture
def root(recorded_once: Path, made: Path, tmp_path: Path) -> Path:
    """A copy of it, while the preset of its runs ships."""
    del made
    return Path(shutil.copytree(recorded_once, tmp_path / "copy"))


def call(root: Path, command: str, *arguments: object) -> Result:
    folder = root / "leaderboard" / "submissions"
    return CliRunner().invoke(main, ["leaderboard", command, "--submissions", str(folder), *map(str, arguments)])


def check(root: Path) -> Result:
    return call(root, "build", "--check", "--out", root / "site", "--workers", "1")


def store(root: Path) -> Store:
    return Store.beside(root / "leaderboard" / "submissions")


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_what_was_recorded_and_built_is_current(root: Path) -> None:
    done = check(root)
    assert done.exit_code == 0, done.output
    assert "1 submission verified, and " in done.stdout
    assert (root / "site" / "submissions" / "tiny-runs" / "report.html").stat().st_size < 10**6
    assert 'href="report.html"' in (root / "site" / "submissions" / "tiny-runs" / "index.html").read_text()


def test_outcomes_are_those_of_the_runs(root: Path, made: Path) -> None:
    recorded = store(root).recorded("tiny-runs")
    (group,) = groups_of(find_runs([made / "runs"]))
    outcomes = recorded.outcomes[group.name]
    assert {row.strategy for row in outcomes.rows} == set(STRATEGIES)
    letters = {"first": "w", "second": "l", "tie": "t", "invalid": "x"}
    for run in group.runs:
        verdicts = {row["prompt_id"]: row["verdict"] for row in run.all_waypoint_rows(8) if row["kind"] == "comparison"}
        settled = outcomes.of(run.spec.strategy.name)
        assert settled
        assert settled.by_seed[run.spec.seed] == "".join(letters[verdicts[prompt]] for prompt in sorted(verdicts))


def test_controls_are_there_for_each_seed(root: Path) -> None:
    (rows,) = store(root).recorded("tiny-runs").controls.values()
    assert [row.name for row in rows] == ["null", "copy", "longest", "shuffled"]
    assert all(tuple(row.by_seed) == SEEDS for row in rows)
    assert {row.source for row in rows} == {"random", "theta_0"}


def test_ranks_of_one_submission_are_those_that_it_states(root: Path) -> None:
    (board,) = boards(store(root).entries())
    stated = {row["strategy"]: row["rank"] for row in store(root).entries()[0].comparisons[0]["rows"]}
    assert {row.strategy: row.rank and list(row.rank) for row in board.rows} == stated


@pytest.mark.parametrize("name", RECORDS)
def test_an_edited_record_is_noticed(root: Path, name: str) -> None:
    path = root / "leaderboard" / "records" / "tiny-runs" / name
    swap = {"w": "l", "l": "w"}

    def forge(value: dict[str, object]) -> None:
        if name == "verification.json":
            value["num_judgments"] = 7
        else:
            text = json.dumps(value["comparisons"])
            at = next(i for i in range(len(text)) if text[i : i + 2] in ("ww", "wl", "lw", "ll"))
            value["comparisons"] = json.loads(text[:at] + swap[text[at]] + text[at + 1 :])

    edit(path, forge)
    assert wrong_records(store(root), "tiny-runs", 1) == [
        f"{path} is not what the submission makes of it; write it anew: apl-bench leaderboard record tiny-runs"
    ]
    done = check(root)
    assert done.exit_code == 1
    assert f"{path} is not what" in done.stderr


def test_an_edited_submission_is_refused_by_the_check_and_not_recorded(root: Path) -> None:
    edit(root / "leaderboard" / "submissions" / "tiny-runs" / "submission.json", lambda value: value.update(note="x"))
    done = check(root)
    assert done.exit_code == 1
    assert "tiny-runs fails 1 check; " in done.stderr
    done = call(root, "record", "--workers", "1", "tiny-runs")
    assert done.exit_code == 2
    assert "V1" in done.stderr


def test_an_edited_page_is_noticed(root: Path) -> None:
    page = root / "site" / "index.html"
    page.write_text(page.read_text().replace("0.", "1.", 1))
    done = check(root)
    assert done.exit_code == 1
    assert f"{page} is not what the submissions make of it" in done.stderr
    assert "build the site again: apl-bench leaderboard build" in done.stderr


def test_the_controls_alone_are_written_anew(root: Path) -> None:
    path = root / "leaderboard" / "records" / "tiny-runs" / "controls.json"
    before = path.read_text()
    path.unlink()
    done = call(root, "controls", "--workers", "1", "tiny-runs")
    assert done.exit_code == 0, done.output
    assert path.read_text() == before


def test_what_happened_is_noted_shown_and_makes_the_site_outdated(root: Path) -> None:
    done = call(
        root, "mark", "tiny-runs", "re-run", "--why", "one step was repeated", "--by", "Ann", "--date", "2026-12-01"
    )
    assert done.exit_code == 0, done.output
    assert check(root).exit_code == 1
    assert call(root, "build", "--out", root / "site").exit_code == 0
    assert "one step was repeated" in (root / "site" / "index.html").read_text()
    events = [json.loads(line) for line in (root / "leaderboard" / "history.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["added", "re-run"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nobody", "retracted", "--why", "x"), "there is no submission 'nobody'"),
        (("tiny-runs", "retracted", "--why", " "), "expected a reason"),
        (("tiny-runs", "audited", "--why", "x"), "expected who did that"),
        (("tiny-runs", "replaced", "--why", "x", "--by", "nobody"), "there is no submission nobody"),
        (("tiny-runs", "retracted", "--why", "x", "--date", "yesterday"), "'yesterday' is no date"),
    ],
)
def test_a_wrong_mark_is_refused_and_not_written(root: Path, arguments: tuple[str, ...], says: str) -> None:
    before = (root / "leaderboard" / "history.jsonl").read_text()
    done = call(root, "mark", *arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert (root / "leaderboard" / "history.jsonl").read_text() == before


def test_our_own_leaderboard_is_verified_and_current() -> None:
    """What `make leaderboard-check` runs: every submission in the repository, its records, and the committed site."""
    command = [sys.executable, "-m", "apl_bench", "leaderboard", "build", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
