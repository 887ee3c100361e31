"""apl-bench check: findings, parameters and exit codes; what the checks themselves find is tested with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from apl_bench.checks import Finding
from apl_bench.cli import check as command
from apl_bench.cli.main import main
from apl_bench.registry import STRATEGIES


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["--no-plugins", "check", *arguments])


@pytest.mark.parametrize("name", ["random", "certainty", "sharp"])
def test_a_good_strategy_keeps_its_contract(name: str) -> None:
    done = call("strategy", name)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"strategy {STRATEGIES.entry(name).name} (apl-bench 0.1.0) keeps its contract\n"


def test_findings_are_told_with_their_remedy_and_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(_: Callable[[], Any]) -> list[Finding]:
        return [Finding("ties", "ties are \x1b[1mnot broken by the seed", "use selection.top")]

    monkeypatch.setattr(command, "CHECKS", {"strategy": (STRATEGIES, find)})
    done = call("strategy", "random")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "ties: ties are [1mnot broken by the seed",
        "  what to do: use selection.top",
        "strategy random (apl-bench 0.1.0) breaks its contract: 1 found",
    ]


def test_the_check_gets_a_maker_of_new_instances_with_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def find(make: Callable[[], Any]) -> list[Finding]:
        made.extend([make(), make()])
        return []

    monkeypatch.setattr(command, "CHECKS", {"strategy": (STRATEGIES, find)})
    assert call("strategy", "random").exit_code == 0
    assert made[0] is not made[1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("strategy", "certanty"), "no strategy called 'certanty'. Did you mean 'certainty'?"),
        (("strategy", "random", "--set", "strategy.q=1"), "no parameter of the strategy 'random' called 'q'"),
        (("strategy", "random", "--set", "task.q=1"), "no table to set called 'task'"),
    ],
)
def test_what_the_user_got_wrong_is_an_error_and_not_a_finding(arguments: tuple[str, ...], text: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert text in done.stderr


def test_an_oracle_is_checked_with_its_usual_parameters() -> None:
    done = call("oracle", "simulated", "--set", "oracle.temperature=0")
    assert done.exit_code == 0, done.output
    assert done.stdout == "oracle simulated (apl-bench 0.1.0) keeps its contract\n"


def test_a_wrapper_is_checked_with_its_parameters() -> None:
    done = call("wrapper", "flip", "--set", "wrapper.rate=0.1")
    assert done.exit_code == 0, done.output
    assert done.stdout == "wrapper flip (apl-bench 0.1.0) keeps its contract\n"
    assert call("wrapper", "flip", "--set", "wrapper.rate=2").exit_code == 2
