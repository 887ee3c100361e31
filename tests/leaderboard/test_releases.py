"""Which sources division closed takes: those on the list, for good, and those that the verifier itself has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from apl_bench.cli.main import main
from apl_bench.leaderboard import building, releases
from apl_bench.leaderboard.building import harness_of
from apl_bench.provenance import Checkout
from apl_bench.records import find_runs
from tests.leaderboard.submitted import checked, codes

MERGED = Path(releases.FILE).parent / "submissions"
COMMIT = Checkout("a" * 40, dirty=False)


def unlisted(submissions: Path) -> list[str]:
    """Submissions to division closed that fail as soon as a line of any source changes."""
    stated = [json.loads(path.read_text()) for path in sorted(submissions.glob("*/submission.json"))]
    return [one["id"] for one in stated
            if one["division"] == "closed" and not releases.is_listed(one["harness"]["source_sha256"])]  # fmt: skip


@pytest.fixture(autouse=True)
def empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    if "merged" not in request.node.name:
        monkeypatch.setattr(releases, "FILE", tmp_path / "releases.json")
        monkeypatch.setattr(releases, "checkout", lambda: COMMIT)
    releases.releases.cache_clear()
    yield
    releases.releases.cache_clear()


def change_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a comment had been added to the harness and to every plugin: each checksum is another."""
    was = releases.installed()
    others = {part: dict.fromkeys(names, "0" * 64) for part, names in was.plugins.items()}
    now = replace(was, source_sha256="0" * 64, plugins=others)
    monkeypatch.setattr(releases, "installed", lambda: now)
    monkeypatch.setattr(releases, "source_sha256", lambda: now.source_sha256)
    releases.releases.cache_clear()


def test_a_submission_of_a_listed_release_passes_with_other_sources(
    honest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases.add(releases.installed())
    change_a_source(monkeypatch)
    assert checked(honest).failures == []


def test_runs_of_a_listed_release_are_submitted_under_its_commit(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = find_runs([made / "runs"])
    made_here = harness_of(runs)
    releases.add(replace(releases.installed(), commit="b" * 40))
    change_a_source(monkeypatch)
    monkeypatch.setattr(building, "source_sha256", lambda: "0" * 64)
    assert harness_of(runs) == replace(made_here, commit="b" * 40, dirty=False)


def test_an_installation_without_a_checkout_finds_the_commit_of_its_sources(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases.add(replace(releases.installed(), commit="b" * 40))
    for module in (building, releases):
        monkeypatch.setattr(module, "checkout", lambda: None)
    releases.releases.cache_clear()
    assert harness_of(find_runs([made / "runs"])).commit == "b" * 40


def test_a_submission_of_no_release_fails_with_other_sources(honest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(honest).failures == []
    change_a_source(monkeypatch)
    assert {"V210", "V211"} <= codes(honest)


def test_a_release_stays_on_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    before = releases.installed()
    releases.add(before)
    change_a_source(monkeypatch)
    releases.add(releases.installed())
    releases.add(releases.installed())
    listed = json.loads(releases.FILE.read_text())["releases"]
    assert [one["source_sha256"] for one in listed] == [before.source_sha256, "0" * 64]


def test_merged_submissions_are_of_listed_releases() -> None:
    """python -m apl_bench.leaderboard.releases, in a checkout of the commit that made the runs, lists it."""
    assert unlisted(MERGED) == []


def test_an_unlisted_submission_is_found(honest: Path) -> None:
    assert unlisted(honest.parent) == [honest.name]
    releases.add(releases.installed())
    assert unlisted(honest.parent) == []


def test_a_checkout_says_whether_it_counts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert releases.main(["check"]) == 1
    assert "not in leaderboard/releases.json" in capsys.readouterr().out
    assert releases.main([]) == 0
    assert releases.main(["check"]) == 0
    assert "division closed takes them" in capsys.readouterr().out
    monkeypatch.setattr(releases, "checkout", lambda: replace(COMMIT, dirty=True))
    assert releases.main(["check"]) == 1
    assert "changes that no commit has" in capsys.readouterr().out


@pytest.mark.parametrize("found", [None, replace(COMMIT, dirty=True)])
def test_only_a_commit_is_listed(found: Checkout | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "checkout", lambda: found)
    assert releases.main([]) == 1
    assert not releases.FILE.exists()
    assert releases.main(["ad"]) == 2


@pytest.mark.parametrize(("division", "warns"), [("closed", True), ("open", False)])
def test_submit_warns_before_it_packs(made: Path, tmp_path: Path, division: str, warns: bool) -> None:
    command = ["submit", str(made / "runs"), "--submitter", "A", "--out", str(tmp_path / "out"), "--name"]
    done = CliRunner().invoke(main, [*command, "First", "--division", division])
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("warning: the sources ") is warns
    releases.add(releases.installed())
    assert "warning" not in CliRunner().invoke(main, [*command, "Second", "--division", division]).stderr
