"""apl-bench ledger: what was recorded, whether it is whole, and how it is shared."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.console import safe, table
from apl_bench.cli.folders import ledger_folder
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.judgments.ledger import Ledger
    from apl_bench.judgments.survey import Survey

_KEY = re.compile(r"[0-9a-f]{64}")
_MAX_REQUEST_BYTES = 4 * 2**20
_SHOWN_CHARACTERS = 60  # of a raw reply

_ledger_option = click.option("--ledger", "folder", type=click.Path(path_type=Path),
                              help="The ledger  [default: ~/.cache/apl-bench/judgments]")  # fmt: skip


@click.group("ledger")
def ledger_() -> None:
    """Look into the ledger of judgments, check it, and share it."""


@ledger_.command()
@_ledger_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(folder: Path | None, as_json: bool) -> None:
    """Count judgments, by who gave them, generations, tokens and files."""
    from apl_bench.judgments.survey import survey

    with _opened(_existing(folder)) as ledger:
        found = survey(ledger.folder)
    click.echo(json.dumps(_as_dict(found), indent=2) if as_json else "\n".join(_lines(found, ledger.folder)))


def _as_dict(found: Survey) -> dict[str, Any]:
    given = [{"provider": answerer.provider, "model": answerer.model, "judgments": given.num_judgments,
              "not_ok": given.num_not_ok, "tokens": dict(sorted(given.tokens.items()))}
             for answerer, given in sorted(found.given.items(), key=_by_name)]  # fmt: skip
    return {
        "judgments": found.num_judgments,
        "files": list(found.files),
        "bytes": found.num_bytes,
        "bad_lines": found.num_bad_lines,
        "tokens": dict(sorted(found.tokens.items())),
        "generations": {str(generation): num for generation, num in found.generations.items()},
        "given": given,
    }


def _by_name(item: tuple[tuple[str | None, str | None], object]) -> tuple[str, str]:
    provider, model = item[0]
    return provider or "", model or ""


def _lines(found: Survey, folder: Path) -> Iterator[str]:
    yield f"{safe(folder)}: {found.num_judgments} judgments in {len(found.files)} files, {found.num_bytes} bytes"
    if found.num_bad_lines:
        yield f"{found.num_bad_lines} lines are no records; see: apl-bench ledger verify"
    if not found.files:
        return
    yield f"oldest file {found.files[0]}, newest {found.files[-1]}"
    names = sorted(found.tokens)
    rows = [(answerer.provider, answerer.model, given.num_judgments, given.num_not_ok,
             *(given.tokens[name] for name in names))
            for answerer, given in sorted(found.given.items(), key=_by_name)]  # fmt: skip
    yield ""
    yield table(["provider", "model", "judgments", "not ok", *names], [[_cell(cell) for cell in row] for row in rows])
    if set(found.generations) != {0}:
        yield ""
        yield table(["generation", "judgments"], found.generations.items())


def _cell(value: object) -> object:
    return "" if value is None else value


@ledger_.command()
@click.argument("wanted", metavar="KEY_OR_REQUEST")
@_ledger_option
def why(wanted: str, folder: Path | None) -> None:
    """Say where a judgment stands, or why there is none.

    KEY_OR_REQUEST is a key of 64 hexadecimal digits, or a JSON file with a request ('-': standard input), or with a
    line of a ledger. For a request that is not recorded, the nearest one that is, field by field.
    """
    from apl_bench.judgments.keys import request_key

    request = None if _KEY.fullmatch(wanted) else _read_request(wanted)
    key = wanted if request is None else request_key(request)
    with _opened(_existing(folder)) as ledger:
        places = ledger.where(key)
        if places:
            click.echo(f"key {key} is recorded:")
            click.echo(_places(ledger, places))
            return
        click.echo(f"key {key} is not recorded in {safe(ledger.folder)}")
        if request is None:
            click.echo("Give its request as a JSON file to see in what it differs from the nearest one that is.")
            return
        closest = ledger.nearest(request)
    if closest is None:
        click.echo("There is no record at all to compare it with.")
        return
    click.echo(f"the nearest record, {closest.key}, differs in {len(closest.differences)} fields:")
    click.echo(table(["field", "wanted", "recorded"],
                     [(item.field, item.wanted, item.recorded) for item in closest.differences]))  # fmt: skip


def _places(ledger: Ledger, places: Any) -> str:
    rows = []
    for entry, place in places.items():
        record = ledger.get(entry.key, entry.generation)
        assert record is not None  # it was read a moment ago, and a ledger only grows
        raw = record.reply.raw
        shown = raw if len(raw) <= _SHOWN_CHARACTERS else f"{raw[:_SHOWN_CHARACTERS]}..."
        rows.append((entry.generation, place.file, place.offset, record.reply.model, record.reply.outcome, shown))
    return table(["generation", "file", "byte", "model", "outcome", "reply"], rows)


def _read_request(name: str) -> dict[str, Any]:
    """The request in a JSON file, or of a ledger's line. Raises SpecError."""
    from apl_bench.judgments.keys import parse

    try:
        if name == "-":
            text = sys.stdin.read(_MAX_REQUEST_BYTES)
        else:
            with Path(name).open(encoding="utf-8") as file:
                text = file.read(_MAX_REQUEST_BYTES)
        value = parse(text)
    except OSError as error:
        raise SpecError(f"{name!r} is no key of 64 hexadecimal digits, and no file that can be read: "
                        f"{error.strerror}") from None  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{name!r} is not JSON: {error}; expected one object, the request") from None
    request = value.get("request", value) if isinstance(value, dict) else None
    if not isinstance(request, dict):
        raise SpecError(f"{name!r} holds no request; expected one JSON object")
    return {field: item for field, item in request.items() if field not in ("k", "kind")}


@ledger_.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--keys", "keys_file", type=click.Path(path_type=Path),
              help="Only these: a file with a key a line, or a run's judgments.jsonl")  # fmt: skip
@_ledger_option
def export(path: Path, keys_file: Path | None, folder: Path | None) -> None:
    """Write a pack for others: PATH, with the hash of what it holds in its name.

    The same judgments give the same pack. It is refused where an API key seems to stand in one of them.
    """
    keys = None if keys_file is None else list(_read_keys(keys_file))
    with _opened(_existing(folder)) as ledger:
        pack = ledger.export(path, keys)
    click.echo(f"wrote {safe(pack)}, {pack.stat().st_size} bytes")


def _read_keys(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            found = _KEY.fullmatch(line.strip()) or re.search(r'"key":"([0-9a-f]{64})"', line)
            if not found:
                raise SpecError(f"line {number} of {str(path)!r} has no key of 64 hexadecimal digits")
            yield found[found.lastindex or 0]


@ledger_.command("import")
@click.argument("packs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="PACK...")
@_ledger_option
def import_(packs: tuple[Path, ...], folder: Path | None) -> None:
    """Take over the judgments of packs that are new: of each pack all, once all was checked, or none."""
    with _opened(ledger_folder(folder)) as ledger:
        for pack in packs:
            done = ledger.import_pack(pack)
            other = f"; {done.num_other} have another reply here, which was kept" if done.num_other else ""
            click.echo(f"{safe(pack)}: {done.num_records} judgments, {done.num_new} of them new{other}")


@ledger_.command()
@_ledger_option
@click.pass_context
def verify(ctx: click.Context, folder: Path | None) -> None:
    """Check every line's seal and key, and the index against the files; exit code 1 where anything is bad."""
    from apl_bench.judgments.verify import verify as verify_

    where = _existing(folder)
    found = verify_(where)
    for notice in found.notices:
        click.echo(f"notice: {safe(notice)}")
    for bad in found.bad:
        click.echo(f"bad: {safe(bad.place)}: {safe(bad.reason)}")
    verdict = f"{len(found.bad)} bad places" if found.bad else "all of them whole"
    click.echo(
        f"{safe(where)}: {found.num_records} records in {found.num_files} files, {found.num_bytes} bytes; {verdict}"
    )
    ctx.exit(1 if found.bad else 0)


@ledger_.command()
@_ledger_option
def rebuild(folder: Path | None) -> None:
    """Throw the index away and make it again from the files."""
    with _opened(_existing(folder)) as ledger:
        ledger.notices.clear()  # what opening said of the old index is settled by a new one
        ledger.rebuild()
    click.echo(f"{safe(ledger.folder)}: the index was rebuilt")


def _existing(folder: Path | None) -> Path:
    """The ledger's folder, which a question does not make. Raises SpecError where there is none."""
    where = ledger_folder(folder)
    if not where.is_dir():
        raise SpecError(f"there is no ledger in {str(where)!r}; name its folder with --ledger")
    return where


@contextmanager
def _opened(folder: Path) -> Iterator[Ledger]:
    """The ledger; at the end, what it has to say."""
    from apl_bench.judgments.ledger import Ledger

    with Ledger(folder) as ledger:
        try:
            yield ledger
        finally:
            for notice in ledger.notices:
                click.echo(f"ledger: {safe(notice)}", err=True)
