"""apl-bench doctor: which presets this machine can run, and what each of the others lacks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from apl_bench.cli.console import MISSING, heading, safe, table
from apl_bench.cli.offline import no_sockets

if TYPE_CHECKING:
    from apl_bench.doctor.machine import Machine
    from apl_bench.doctor.presets import Examined

SCHEMA = "apl-doctor/1"


@click.command()
@click.argument("names", metavar="[PRESET]...", nargs=-1)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Change a setting of each preset, such as policy.revision=COMMIT")  # fmt: skip
@click.option("--oracle", metavar="ORACLE", help="Who labels, in the place of the preset's")
@click.option("--judge", metavar="ORACLE", help="Who decides the evaluation, in the place of the preset's")
@click.option("--online", is_flag=True, help="Ask the hub for commits, and whether it has what is not here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(
    ctx: click.Context,
    names: tuple[str, ...],
    settings: tuple[str, ...],
    oracle: str | None,
    judge: str | None,
    online: bool,
    as_json: bool,
) -> None:
    """Say what is on this machine, which PRESETs it can run, and what each of the others lacks.

    A PRESET is a name from `apl-bench list presets`, or a TOML file of your own; all that ship where none is named.
    Nothing is downloaded, and without --online nobody is asked anything. Ends with code 1 if a PRESET that was named
    can't run here, or if none can.
    """
    from apl_bench import presets
    from apl_bench.doctor.machine import look_around
    from apl_bench.doctor.presets import examine
    from apl_bench.presets import Changes

    changes = Changes(settings, oracle, judge)
    with nullcontext() if online else no_sockets():
        machine = look_around()
        examined = [examine(name, changes, machine, online) for name in names or presets.names()]
    click.echo(to_json(machine, examined) if as_json else to_text(machine, examined))
    can_run = [each.can_run for each in examined]
    if not (all(can_run) if names else any(can_run)):
        ctx.exit(1)


def to_json(machine: Machine, examined: Sequence[Examined]) -> str:
    """All that was found, for a machine."""
    found = [{**dataclasses.asdict(each), "can_run": each.can_run} for each in examined]
    return json.dumps({"schema": SCHEMA, "machine": dataclasses.asdict(machine), "presets": found}, indent=2)


def to_text(machine: Machine, examined: Sequence[Examined]) -> str:
    """All that was found, as people read it."""
    return "\n\n".join(filter(None, [_machine(machine), _extras(machine), _presets(examined), _lacks(examined)]))


def _machine(machine: Machine) -> str:
    devices = [f"{device.name}, {_gigabytes(device.memory_bytes)}" for device in machine.devices]
    keys = [f"{key.name} is {'set' if key.is_set else 'not set'}" for key in machine.keys]
    rows = [
        ("system", f"{machine.system}, Python {machine.python}, torch {machine.torch}"),
        ("processor", f"{machine.num_cores} cores, {_gigabytes(machine.memory_bytes)} of memory"),
        ("CUDA", "; ".join(devices) or "no device that torch can use"),
        *((folder.holds, f"{folder.path}, {_gigabytes(folder.free_bytes)} free") for folder in machine.folders),
        ("keys", "; ".join(keys)),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {safe(name).ljust(width)}  {safe(text)}" for name, text in rows]
    return "\n".join([heading("This machine"), *lines])


def _extras(machine: Machine) -> str:
    rows = [
        (extra.name, f"lacks {', '.join(extra.absent)}" if extra.absent else "installed",
         extra.command if extra.absent else "")
        for extra in machine.extras
    ]  # fmt: skip
    return table(["extra", "is", "provide it with"], rows)


def _presets(examined: Sequence[Examined]) -> str:
    rows = [(each.preset, "yes" if each.can_run else "no", *_needs(each)) for each in examined]
    said = "Memory is that of weights, gradients and Adam alone, in fp32; it is known once the model's config is here."
    return "\n".join([table(["preset", "runs here", "memory", "labels", "judgments"], rows), "", said])


def _needs(examined: Examined) -> tuple[str, str, str]:
    needs = examined.needs
    if needs is None:
        return MISSING, MISSING, MISSING
    memory = MISSING if needs.memory_bytes is None else _gigabytes(needs.memory_bytes)
    return memory, f"{needs.num_labels} by {needs.oracle}", f"{needs.num_judgments} by {needs.judge}"


def _lacks(examined: Sequence[Examined]) -> str:
    lines = [line for each in examined for line in _about(each)]
    return "\n".join(lines)


def _about(examined: Examined) -> Iterator[str]:
    if not (examined.lacks or examined.notes):
        return
    yield heading(f"{examined.preset}{'' if examined.can_run else ' lacks'}")
    told = [(lack.part, lack.sentence) for lack in examined.lacks] + [("note", note) for note in examined.notes]
    for part, sentence in told:
        yield f"  {part:<8}{safe(sentence)}"  # in one line, however long: there are commands in it to be pasted


def _gigabytes(num_bytes: int | None) -> str:
    if num_bytes is None:
        return MISSING
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e9:.2f} GB"
