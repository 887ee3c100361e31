"""What `apl-bench run` shows: a live line on a terminal, plain lines elsewhere, and at the end the learning curve and
where the time went."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from apl_bench.cli.console import number, table
from apl_bench.cli.stages import stage_lines
from apl_bench.records import Run
from apl_bench.report.spending import Spending
from apl_bench.spec import RunSpec
from apl_bench.tally import win_rate_error

BAR_WIDTH = 30


class Progress:
    """Listens to a run's events and prints them; one for all seeds of a command."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._bar: Bar | None = None
        self._since: float | None = None

    @contextmanager
    def loading(self, spec: RunSpec) -> Iterator[None]:
        """While the policy and the prompts are loaded."""
        self._say(f"loading policy {spec.policy.model} and task {spec.task.name}")
        yield

    def about(self, line: str) -> None:
        """What comes next."""
        self._say(line, style="bold")

    @contextmanager
    def running(self, spec: RunSpec, path: Path) -> Iterator[None]:
        """While a run goes: a spinner and a bar of labels bought, on a terminal."""
        loop = spec.loop
        self._since = time.monotonic()
        self._say(f"{spec.task.name} {spec.preset}, strategy {spec.strategy.name}, seed {spec.seed}: {loop.num_steps} "
                  f"steps of {loop.labels_per_step} labels, regime {loop.regime}", style="bold")  # fmt: skip
        self._say(f"writing {path}")
        if not self._console.is_terminal:
            yield
            return
        count = TextColumn("{task.completed}/{task.total} labels")
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn())
        with Bar(*columns, console=self._console, transient=True) as self._bar:
            self._bar.add_task("starting", total=loop.num_steps * loop.labels_per_step)
            yield
        self._bar = None

    def event(self, event: dict[str, Any]) -> None:
        """Print one event of the run."""
        tell = {"begin": self._begin, "acquired": self._acquired, "trained": self._trained, "waypoint": self._waypoint,
                "epoch": self._epoch}  # fmt: skip
        if event["event"] in tell:
            tell[event["event"]](event)

    def _begin(self, event: dict[str, Any]) -> None:
        if event["steps_done"]:
            self._say(f"  going on after step {event['steps_done']} of {event['num_steps']}")
            self._advance(event["num_labels"], "going on")

    def _acquired(self, event: dict[str, Any]) -> None:
        dropped = event["ties"] + event["invalid"]
        note = f", {dropped} ties or invalid" if dropped else ""
        self._say(f"  step {event['step']:>3}  bought {event['num_pairs']} labels{note} ({_seconds(event)})")
        self._advance(event["num_pairs"], f"step {event['step']}: training")

    def _trained(self, event: dict[str, Any]) -> None:
        losses = [event.get(name, math.nan) for name in ("first_epoch_loss", "last_epoch_loss")]
        what = f"{event['num_updates']} updates on {event['num_preferences']} pairs"
        self._say(f"            trained {what}, DPO loss {losses[0]:.3f} -> {losses[1]:.3f} ({_seconds(event)})")
        self._advance(0, f"step {event['step']}: evaluating")

    def _waypoint(self, event: dict[str, Any]) -> None:
        error = win_rate_error(event["wins"], event["losses"], event["ties"])
        health = f"KL {number(event['kl'], 2)}, length {event['mean_length']:.1f}, repetition {event['repetition']:.3f}"
        rate = f"win rate {number(event['win_rate'], 3)} (SE {error:.3f})"
        note = f", {event['invalid']} invalid" if event["invalid"] else ""
        self._say(f"  {event['num_labels']:>4} labels: {rate}{note}, {health} ({_seconds(event)})", style="green")
        self._advance(0, "sampling candidates")

    def _epoch(self, event: dict[str, Any]) -> None:
        """Of a convergence."""
        error = win_rate_error(event["wins"], event["losses"], event["ties"])
        losses = f"loss {event['loss']:.4f}, held out {number(event['held_out_loss'])}"
        rate = f"win rate {number(event['win_rate'], 3)} (SE {error:.3f})"
        self._say(f"  {event['num_labels']:>4} labels, epoch {event['epoch']:>3}: {losses}, {rate} ({_seconds(event)})",
                  style="green")  # fmt: skip

    def skip(self, run: Run) -> None:
        """A complete run is not run again, and took no time."""
        self._since = None
        self._say(f"complete already: {run.path}")

    def result(self, run: Run) -> None:
        """The learning curve of a finished run, and what it took."""
        rows = []
        for row in run.result["waypoints"]:
            error = win_rate_error(row["wins"], row["losses"], row["ties"])
            beside = (number(row["kl"], 2), number(row["mean_length"], 1), number(row["repetition"], 3))
            rate = (number(row["win_rate"], 3), number(error, 3))
            rows.append((row["num_labels"], *rate, *beside, number(row["perplexity"], 1), _bar(row["win_rate"])))
        columns = ("labels", "win rate", "SE", "KL", "length", "repetition", "perplexity", "0" + "." * 14 + "0.5")
        self._say("")
        self._say(f"Learning curve: {run.spec.strategy.name}, seed {run.spec.seed}", style="bold")
        for line in table(columns, rows).split("\n"):
            self._say(line)
        if not run.result["sound"]:
            self._say("UNSOUND: more than 1 % of a step's or a waypoint's verdicts could not be read", style="bold red")
        took = f"{time.monotonic() - self._since:.0f} s. " if self._since is not None else ""
        self._say(f"{took}SE is over the test prompts, for this seed alone.")
        self._spending(run)

    def _spending(self, run: Run) -> None:
        for number_of_line, line in enumerate(stage_lines(Spending.of(run.events()))):
            if number_of_line == 0:
                self._say("")
            self._say(line, style="" if number_of_line else "bold")

    def next_steps(self, runs: list[Run], out: Path, options: list[str]) -> None:
        """Where everything is, and what to try next with the same options."""
        first = runs[0]
        other = "random" if first.spec.strategy.name != "random" else "certainty"
        spec, several = first.spec, len(runs) > 1
        command = shlex.join(["--strategy", other, "--task", spec.task.name, *options, "--seeds", "0-2"])
        self._say("")
        self._say(f"Written: {first.path}" + (f" and {len(runs) - 1} more" if several else ""), style="bold")
        self._say("Next:")
        replay, compare = (shlex.join([str(path)]) for path in (first.path, out / f"{spec.task.name}-{spec.preset}"))
        self._say(f"  apl-bench replay {replay}    # every number again, from the record alone")
        self._say(f"  apl-bench run {command}")
        self._say(f"  apl-bench compare {compare}    # table, curves, histograms")

    def _say(self, line: str, style: str = "") -> None:
        self._console.print(Text(line, style=style), soft_wrap=True)

    def _advance(self, num_labels: int, description: str) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=num_labels, description=description)


def _seconds(event: dict[str, Any]) -> str:
    return f"{sum(event['seconds'].values()):.1f} s"


def _bar(rate: float | None) -> str:
    filled = round((rate or 0) * BAR_WIDTH)
    return "#" * filled + "." * (BAR_WIDTH - filled)
