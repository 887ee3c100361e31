"""apl-bench list: what there is, by name."""

from __future__ import annotations

import json
from typing import Any

import click

from apl_bench import presets
from apl_bench.cli.console import heading, safe, table
from apl_bench.registry import BUILT_IN, ORACLES, STRATEGIES, TASKS, WRAPPERS, Entry

REGISTRIES: dict[str, Any] = {"strategies": STRATEGIES, "tasks": TASKS, "oracles": ORACLES, "wrappers": WRAPPERS}


@click.command("list")
@click.argument("kind", type=click.Choice([*REGISTRIES, "presets"]), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(kind: str | None, as_json: bool) -> None:
    """List strategies, tasks, oracles, wrappers or presets (all of them, where none is named)."""
    found = {name: entries(name) for name in ([kind] if kind else [*REGISTRIES, "presets"])}
    if as_json:
        click.echo(json.dumps({name: [as_dict(entry) for entry in found[name]] for name in found}, indent=2))
        return
    for name, listed in found.items():
        if kind is None:
            click.echo(heading(f"{name.capitalize()}"))
        click.echo(table(["name", "what it is", "from"], [(e.name, what(e), e.origin) for e in listed]))
        if kind is None:
            click.echo()


def entries(kind: str) -> list[Entry]:
    """All entries of a kind; a preset is one of ours."""
    if kind == "presets":
        return [Entry(name, "", presets.describe(name), BUILT_IN) for name in presets.names()]
    listed: list[Entry] = REGISTRIES[kind].entries()
    return listed


def what(entry: Entry) -> str:
    """An entry in one line: its summary and other names, or why it can't be used."""
    if entry.error:
        return f"error: {safe(entry.error)}"
    also = f" (also: {', '.join(entry.aliases)})" if entry.aliases else ""
    return f"{entry.summary}{also}"


def as_dict(entry: Entry) -> dict[str, Any]:
    """An entry for a machine."""
    return {
        "name": entry.name,
        "summary": entry.summary,
        "origin": entry.origin,
        "aliases": list(entry.aliases),
        "error": entry.error,
    }
