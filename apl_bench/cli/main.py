"""apl-bench: which pairs are worth a label?"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import click

from apl_bench import __version__
from apl_bench.cli.console import safe, safe_lines


class Lazy(NamedTuple):
    """A command that is not imported yet: "module:function", and its line in the help."""

    target: str
    summary: str


COMMANDS = {
    "run": Lazy("apl_bench.cli.run:run", "Run a strategy on a task and show its learning curve."),
    "plan": Lazy("apl_bench.cli.plan:plan_", "Say what a run would cost and could show, before it asks."),
    "sweep": Lazy("apl_bench.cli.sweep:sweep_", "Run a grid of strategies and seeds, here or on a cluster."),
    "compare": Lazy("apl_bench.cli.compare:compare_", "Compare strategies over the seeds that were run."),
    "report": Lazy("apl_bench.cli.report:report_", "Write runs up as one HTML page and figures for a paper."),
    "converge": Lazy("apl_bench.cli.converge:converge", "Draw loss and win rate against epochs: how many to train."),
    "replay": Lazy("apl_bench.cli.replay:replay", "Recompute a run's numbers from what it recorded."),
    "ledger": Lazy("apl_bench.cli.ledger:ledger_", "Look into the ledger of judgments, check it, and share it."),
    "submit": Lazy("apl_bench.cli.submit:submit", "Pack runs as a submission to the leaderboard."),
    "verify": Lazy("apl_bench.cli.verify:verify", "Recompute a submission and say what is wrong with it."),
    "leaderboard": Lazy("apl_bench.cli.leaderboard:leaderboard_", "Build the leaderboard's pages and tables."),
    "export": Lazy("apl_bench.cli.export:export_", "Give preferences and results away in formats of others."),
    "track": Lazy("apl_bench.cli.track:track", "Tell an experiment tracker of runs that were made before."),
    "paper": Lazy("apl_bench.cli.paper:paper", "Say which of the paper's own differences hold up."),
    "list": Lazy("apl_bench.cli.list:list_", "List strategies, tasks, oracles, wrappers or presets."),
    "new": Lazy("apl_bench.cli.new:new", "Start a package for a strategy of your own."),
    "judge-report": Lazy("apl_bench.cli.judge_report:judge_report", "Say how good a judge is at judging."),
    "annotate": Lazy("apl_bench.cli.annotate:annotate", "Answer what runs ask of people; their agreement."),
    "bench": Lazy("apl_bench.cli.bench:bench", "Measure speed and memory against what one would pick instead."),
    "doctor": Lazy("apl_bench.cli.doctor:doctor", "Say which presets this machine can run, and what each lacks."),
    "check": Lazy("apl_bench.cli.check:check", "Say what is wrong with a strategy, task, oracle or wrapper."),
}


class Failure(click.ClickException):
    """What the user is told: an `error:` line on stderr, and an exit code that says what kind of failure it was."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.message}", file=file, err=file is None)


class BadSpec(Failure):
    """The user asked for what does not exist or cannot be."""

    exit_code = 2


class Awaiting(Failure):
    """The run waits for labels of others; the same command goes on."""

    exit_code = 3

    def show(self, file: Any = None) -> None:
        click.echo(self.message, file=file, err=file is None)


class NotRecorded(Failure):
    """A replay needs a judgment that was not recorded."""

    exit_code = 4


class LazyGroup(click.Group):
    """Knows its commands by name and summary, imports one when it is called, and is where every error ends."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(_unknown(args[0]), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            raise _failure(error) from error


def _unknown(name: str) -> str:
    import difflib  # not needed for --help

    close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"no command called {safe(name)!r}.{hint} There are: {', '.join(COMMANDS)}"


def _failure(error: Exception) -> Failure:
    """An error as the user is told; what nobody foresaw comes with its traceback."""
    import traceback

    from apl_bench.failures import AwaitingLabels, OracleError  # none of these is needed for --help
    from apl_bench.judging import MissingJudgment
    from apl_bench.judgments.keys import RequestError
    from apl_bench.judgments.record import RecordError
    from apl_bench.types import SpecError

    if isinstance(error, AwaitingLabels):
        return Awaiting(safe_lines(str(error)))
    if isinstance(error, MissingJudgment):
        return NotRecorded(safe_lines(str(error)))
    if isinstance(error, SpecError):
        return BadSpec(safe_lines(str(error)))
    # The last three: a gradient that is not finite, and what an oracle asks or says and no ledger can hold.
    if isinstance(error, (OSError, OracleError, FloatingPointError, RecordError, RequestError)):
        return Failure(safe_lines(str(error)))
    click.echo(safe_lines("".join(traceback.format_exception(error))), err=True)
    return Failure(f"{type(error).__name__} that apl-bench did not expect; please report the lines above")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="apl-bench")
@click.option("--no-plugins", is_flag=True, help="Know only what ships with apl-bench.")
@click.pass_context
def main(ctx: click.Context, no_plugins: bool) -> None:
    """A benchmark of active preference learning: which pairs are worth a label?

    Start with: apl-bench run --strategy certainty --task imdb
    """
    if no_plugins:
        from apl_bench.registry import without_plugins  # not needed for --help

        ctx.with_resource(without_plugins())
