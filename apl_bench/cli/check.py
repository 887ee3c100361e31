"""apl-bench check: what is wrong with a plugin, before a label is paid for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from apl_bench.checks import Finding, check_oracle, check_strategy, check_task, check_wrapper
from apl_bench.cli.console import safe
from apl_bench.registry import ORACLES, STRATEGIES, TASKS, WRAPPERS, Registry
from apl_bench.spec import override

CHECKS: Mapping[str, tuple[Registry[Any], Callable[[Callable[[], Any]], Sequence[Finding]]]] = {
    "strategy": (STRATEGIES, check_strategy),
    "task": (TASKS, check_task),
    "oracle": (ORACLES, check_oracle),
    "wrapper": (WRAPPERS, check_wrapper),
}


@click.command()
@click.argument("kind", type=click.Choice(list(CHECKS)))
@click.argument("name")
@click.option("--set", "settings", multiple=True, metavar="KIND.KEY=VALUE",
              help="Give the plugin a parameter, such as strategy.width=0.2")  # fmt: skip
@click.option("--task", default="imdb", show_default=True, help="The task that an oracle's usual parameters follow.")
def check(kind: str, name: str, settings: tuple[str, ...], task: str) -> None:
    """Say what is wrong with the strategy, task, oracle or wrapper called NAME, and what to do about it.

    Exit code 0 if it keeps its contract, 1 if it does not.
    """
    registry, find = CHECKS[kind]
    params = parameters(kind, settings)
    if kind == "oracle":
        params = {**ORACLES.load(name).defaults("oracle", TASKS.load(task)), **params}
    registry.create(name, params)  # what the user got wrong is an error, not a finding
    findings = find(lambda: registry.create(name, params))
    entry = registry.entry(name)
    described = f"{kind} {entry.name} ({safe(entry.origin)})"
    for finding in findings:
        click.echo(f"{safe(finding.code)}: {safe(finding.sentence)}")
        click.echo(f"  what to do: {safe(finding.remedy)}")
    if findings:
        click.echo(f"{described} breaks its contract: {len(findings)} found")
        raise click.exceptions.Exit(1)
    click.echo(f"{described} keeps its contract")


def parameters(kind: str, settings: Sequence[str]) -> dict[str, Any]:
    """The plugin's parameters from `kind.key=value` settings, as `apl-bench run --set` takes them."""
    tables: dict[str, dict[str, Any]] = {kind: {}}
    for setting in settings:
        tables = override(tables, setting)
    return tables[kind]
