"""apl-bench paper: which of the paper's own differences from random hold up."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.console import heading, number, table

if TYPE_CHECKING:
    from apl_bench.paper.holding import Finding
    from apl_bench.paper.published import Table

SCHEMA = "apl-paper/1"
COLUMNS = ("labels", "strategy", "win rate", "difference", "SE", "p", "p Holm", "both tasks", "holds to", "detectable",
           "reading")  # fmt: skip
KEY = (
    "difference: from random at as many labels. SE, p: Welch's test on the printed errors over seeds, seeds taken as",
    "unpaired. p Holm: corrected for the 12 differences of the task; both tasks: for all 24.",
    "holds to: the share of the verdicts' variance that may be the prompts' own, and not cancel between strategies,",
    "before the difference is no longer significant. The paper does not say how much it is: an error over seeds leaves",
    "out the luck of the 1,024 prompts, which all seeds share. 1.00 would hold whatever it is.",
    "detectable: the smallest true difference that Welch's test, alone, would find in 4 of 5 experiments.",
    "reading: holds up, for any prompts; on these prompts, significant, and others may say otherwise; not after Holm,",
    "significant only if it had been the one question asked; not shown.",
)


@click.command("paper")
@click.option("--task", type=click.Choice(["imdb", "tldr"]), help="Only this task.  [default: both]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def paper(task: str | None, as_json: bool) -> None:
    """Say which differences from random of the paper's table 2 hold up.

    From the printed means and standard errors alone, kept with the package. docs/statistics.md explains the tests.
    """
    from apl_bench.paper.holding import findings
    from apl_bench.paper.published import table as published

    content = published()
    found = findings(content.differences)
    shown = [finding for finding in found if task in (None, finding.published.task)]
    click.echo(_to_json(content, shown) if as_json else _to_text(content, shown))


def _to_text(content: Table, found: Sequence[Finding]) -> str:
    parts = [f"Source: {content.source}."]
    for task in dict.fromkeys(finding.published.task for finding in found):
        mine = [finding for finding in found if finding.published.task == task]
        title = f"{task}, win rate against {content.opponents[task]}, {content.num_prompts} test prompts"
        parts.append(f"{heading(title)}\n\n{table(COLUMNS, map(_cells, mine))}\n\n{_summary(mine)}")
    parts.append("\n".join([*KEY, *_floor_lines(found)]))
    return "\n\n".join(parts)


def _cells(finding: Finding) -> list[str]:
    published, these = finding.published, finding.these_prompts
    rates = [number(published.ours.mean), number(finding.difference, signed=True)]
    tests = map(number, (these.error, these.p, these.p_task, these.p_all))
    shown = [number(finding.holds_to, 2), number(finding.detectable), finding.verdict]
    return [str(published.num_labels), published.strategy, *rates, *tests, *shown]


def _summary(found: Sequence[Finding]) -> str:
    words = ("holds up", "on these prompts", "not after Holm", "not shown")
    counts = ", ".join(f"{sum(finding.verdict == word for finding in found)} {word}" for word in words)
    both = sum(finding.these_prompts.p_all <= 0.05 for finding in found)
    return f"Of {len(found)} differences: {counts}. Corrected for those of both tasks, {both} significant."


def _floor_lines(found: Sequence[Finding]) -> list[str]:
    """Standard errors below what chance verdicts alone would give, and what that says."""
    cells = {}
    for finding in found:
        published = finding.published
        where = (published.task, published.num_labels)
        cells[*where, "random"] = published.baseline
        cells[*where, published.strategy] = published.ours
    below = {where: cell for where, cell in cells.items() if cell.se_seeds < cell.floor}
    lines = [
        f"  {task}, {strategy} at {num_labels}: SE {cell.se_seeds:.4f}, floor {cell.floor:.4f}; "
        f"over seeds and prompts at least {cell.smallest_two_way:.4f}"
        for (task, num_labels, strategy), cell in sorted(below.items())
    ]
    if not lines:
        return []
    return [f"Below the binomial floor sqrt(p (1 - p) / (seeds x 1024)) are {len(lines)} of {len(cells)} printed SEs:",
            *lines,
            "  By chance, or because the seeds share their test prompts: then some prompts are won by every seed, and",
            "  the luck of having drawn these prompts is not in the SE."]  # fmt: skip


def _to_json(content: Table, found: Sequence[Finding]) -> str:
    rows: list[dict[str, Any]] = [
        {**dataclasses.asdict(finding), "floor": finding.published.ours.floor, "verdict": finding.verdict}
        for finding in found
    ]
    return json.dumps({"schema": SCHEMA, "source": content.source, "findings": rows}, indent=2, allow_nan=False)
