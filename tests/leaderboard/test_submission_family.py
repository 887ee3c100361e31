"""The family that a submission declares: stated, recomputed with, and bound to its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from apl_bench.cli.main import main
from apl_bench.leaderboard.findings import Refused
from apl_bench.leaderboard.submission import Submission
from apl_bench.statistics import Family, Hypothesis
from tests.leaderboard.submitted import Forger, checked, codes, sums_again

DECLARED = [{"strategy": "certainty", "num_labels": 4}, {"strategy": "certainty", "num_labels": 8}]


def declare(path: Path, hypotheses: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"alpha": 0.1, "hypotheses": hypotheses}))
    return path


@pytest.fixture
def declared(made: Path, tmp_path: Path) -> Path:
    """A submission with a family, by the command."""
    family = declare(tmp_path / "family.json", DECLARED)
    command = ["submit", str(made / "runs"), "--name", "Declared", "--submitter", "A", "--family", str(family)]
    done = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    return tmp_path / "out" / "declared"


def test_it_is_stated_and_passes(declared: Path) -> None:
    expected = {"alpha": 0.1, "rule": "Holm", "declared": True, "hypotheses": DECLARED}
    assert json.loads((declared / "submission.json").read_text())["family"] == expected
    (results,) = json.loads((declared / "results.json").read_text())
    assert results["family"] == expected
    with_p = {row["strategy"] for row in results["rows"] for point in row["curve"]
              if point["difference"] and point["difference"]["p_holm"] is not None}  # fmt: skip
    assert with_p == {"certainty"}
    assert checked(declared).failures == []


def test_an_edited_family_fails(declared: Path) -> None:
    """Declared anew after the results were seen: the results are then other ones."""
    stated = json.loads((declared / "submission.json").read_text())
    for change in ({**stated["family"], "hypotheses": DECLARED[:1]}, {**stated["family"], "alpha": 0.2}, None):
        edited = {name: value for name, value in {**stated, "family": change}.items() if value is not None}
        (declared / "submission.json").write_text(json.dumps(edited))
        sums_again(declared)
        assert "V306" in codes(declared), change


def test_results_of_another_family_fail(forger: Forger) -> None:
    family = Family((Hypothesis("certainty", 8),), declared=True)
    assert "V306" in codes(forger.submit(family=family))


def test_without_one_nothing_is_stated_and_every_ranked_strategy_is_tested(honest: Path) -> None:
    assert "family" not in json.loads((honest / "submission.json").read_text())
    (results,) = json.loads((honest / "results.json").read_text())
    assert results["family"]["declared"] is False
    assert {one["strategy"] for one in results["family"]["hypotheses"]} == {"certainty", "entropy+certainty", "tails"}


@pytest.mark.parametrize(
    "change",
    [
        {"rule": "none"},
        {"declared": False},
        {"alpha": 0},
        {"alpha": "0.05"},
        {"hypotheses": []},
        {"hypotheses": [*DECLARED, DECLARED[0]]},
        {"hypotheses": [{"strategy": "certainty", "num_labels": 8.0}]},
        {"more": 1},
    ],
)
def test_what_is_no_family_is_refused(declared: Path, change: dict[str, Any]) -> None:
    stated = json.loads((declared / "submission.json").read_text())
    with pytest.raises(Refused, match="V110"):
        Submission.of({**stated, "family": {**stated["family"], **change}}, [], "")
    with pytest.raises(Refused, match="V110"):
        Submission.of({**stated, "family": None}, [], "")


def test_a_family_about_something_else_is_said(made: Path, declared: Path, tmp_path: Path) -> None:
    family = declare(tmp_path / "other.json", [{"strategy": "certainty", "num_labels": 5}])
    command = ["submit", str(made / "runs"), "--name", "Other", "--submitter", "A", "--family", str(family)]
    done = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "certainty at 5 labels, where nothing was evaluated" in done.output
    stated = json.loads((declared / "submission.json").read_text())
    stated["family"]["hypotheses"][0]["num_labels"] = 5
    (declared / "submission.json").write_text(json.dumps(stated))
    sums_again(declared)
    assert "V215" in codes(declared)
