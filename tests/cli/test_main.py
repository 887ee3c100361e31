"""The shell around the commands: what it imports, what it says to mistakes, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from apl_bench.cli.main import COMMANDS, main
from apl_bench.judging import MissingJudgment
from apl_bench.types import SpecError

HEAVY = ("torch", "transformers", "datasets", "openai", "anthropic", "matplotlib", "scipy", "numpy", "rich", "rfc8785")


def imported_by(*arguments: str) -> set[str]:
    """Heavy modules in sys.modules after the command, in a process of its own."""
    code = (
        "import json, sys\nfrom apl_bench.cli.main import main\n"
        f"main({list(arguments)!r}, standalone_mode=False)\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_imports_nothing_heavy_and_names_every_command() -> None:
    assert imported_by("--help") == set()
    output = CliRunner().invoke(main, ["--help"]).output
    assert all(name in output and lazy.summary in output for name, lazy in COMMANDS.items())


def test_list_imports_no_model_library() -> None:
    assert not imported_by("list", "strategies") & {"torch", "transformers", "datasets", "matplotlib"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_explains_itself(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: main {name}")


def test_the_reference_has_every_command_and_no_other() -> None:
    """Each as the beginning of a row of "Other commands", but for `run`, whose chapters stand before."""
    text = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `apl-bench ([a-z][\w-]*)", text.partition("## Other commands")[2], re.MULTILINE)
    assert sorted(named) == sorted({*COMMANDS} - {"run"})
    assert "\n## apl-bench run\n" in text


def test_an_unknown_command_is_answered_with_the_nearest() -> None:
    done = CliRunner().invoke(main, ["comprae"])
    assert done.exit_code == 2
    assert "no command called 'comprae'. Did you mean 'compare'? There are: run, plan" in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (SpecError("loop.budget is 3;\nexpected\x1b 64"), 2, "error: loop.budget is 3;\nexpected 64\n"),
        (MissingJudgment({"model": "oracle"}, 3, None), 4, "error: no recorded judgment for 3 comparisons"),
        (PermissionError(13, "Permission denied", "runs"), 1, "error: [Errno 13] Permission denied: 'runs'\n"),
    ],
)
def test_errors_are_one_message_and_a_code(
    error: Exception, code: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = fail_with(error, monkeypatch)
    assert done.exit_code == code
    assert done.stderr.startswith(text)
    assert done.stdout == ""


def test_what_nobody_foresaw_shows_its_traceback_without_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    done = fail_with(KeyError("\x1b[2J"), monkeypatch)
    assert done.exit_code == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "error: KeyError that apl-bench did not expect" in done.stderr
    assert "\x1b" not in done.stderr


def fail_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> Result:
    @click.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(type(main), "get_command", lambda self, ctx, name: fail)
    return CliRunner().invoke(main, ["run"])
