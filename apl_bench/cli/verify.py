"""apl-bench verify: a submission recomputed, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from apl_bench.cli.console import heading, safe
from apl_bench.types import SpecError
from apl_bench.wording import quantity

if TYPE_CHECKING:
    from apl_bench.leaderboard.findings import Finding
    from apl_bench.leaderboard.verifying import Verification

SCHEMA = "apl-verification/1"


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
                metavar="DIR...")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a list with an object for each DIR.")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes.")
@click.option("--against", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A folder of submissions: say which of their replies and evaluations a DIR has.")  # fmt: skip
@click.option("--unpack", type=click.Path(path_type=Path),
              help="Leave the run directories here, for replay, compare and report; of one DIR alone.")  # fmt: skip
def verify(folders: tuple[Path, ...], as_json: bool, workers: int, against: Path | None, unpack: Path | None) -> None:
    """Recompute the submissions DIR..., offline and without a model, and say what is wrong with them.

    Failures (levels 1 to 3: integrity, protocol, recomputation) make the exit code 1. Flags (level 4: plausibility) are
    for a person to look at.
    """
    from apl_bench.leaderboard.verifying import CANNOT_PROVE, Options
    from apl_bench.leaderboard.verifying import verify as check

    if unpack is not None and (len(folders) != 1 or unpack.exists()):
        raise SpecError(f"--unpack {safe(unpack)} with {len(folders)} DIR: it takes one DIR, and a folder that is not "
                        "there yet")  # fmt: skip
    found = [check(folder, Options(workers, _others(against, folder)), unpack) for folder in folders]
    if as_json:
        click.echo(json.dumps([to_json(one) for one in found], indent=2))
    else:
        click.echo("\n".join(line for one in found for line in _lines(one)))
        click.echo(CANNOT_PROVE)
    if not all(one.passed for one in found):
        raise click.exceptions.Exit(1)


def _others(against: Path | None, folder: Path) -> tuple[Path, ...]:
    """The submissions in the folder `against`, but for the one that is verified."""
    from apl_bench.leaderboard.submission import MANIFEST_FILE, SUBMISSION_FILE

    if against is None:
        return ()
    if any((against / name).is_file() for name in (SUBMISSION_FILE, MANIFEST_FILE)):
        raise SpecError(f"--against {safe(against)} is a submission; expected the folder in which submissions stand, "
                        f"which here is {safe(against.resolve().parent)}")  # fmt: skip
    found = [path for path in sorted(against.iterdir()) if path.is_dir()]
    if not any((path / SUBMISSION_FILE).is_file() for path in found):
        raise SpecError(f"--against {safe(against)} holds no submission; expected the folder in which submissions "
                        "stand, such as leaderboard/submissions")  # fmt: skip
    return tuple(path for path in found if path.resolve() != folder.resolve())


def to_json(found: Verification) -> dict[str, object]:
    """As `--json` prints it; `schema` is apl-verification/1."""
    from apl_bench.leaderboard.verifying import CANNOT_PROVE

    return {
        "schema": SCHEMA,
        "id": found.id,
        "passed": found.passed,
        "num_runs": found.num_runs,
        "num_judgments": found.num_judgments,
        "failures": [one.to_json() for one in found.failures],
        "flags": [one.to_json() for one in found.flags],
        "cannot_prove": CANNOT_PROVE,
    }


def _lines(found: Verification) -> Iterator[str]:
    num = f"{quantity(found.num_runs, 'run')}, {quantity(found.num_judgments, 'judgment')}"
    failures = quantity(len(found.failures), "failure").upper()
    verdict = "everything comes out as claimed" if found.passed else failures
    yield heading(f"{found.id}: {num}, {verdict}, {quantity(len(found.flags), 'flag')}")
    for title, findings in (("Failures", found.failures), ("Flags, for a person to look at", found.flags)):
        yield from _listed(title, findings)
    yield ""


def _listed(title: str, findings: Sequence[Finding]) -> Iterator[str]:
    if findings:
        yield f"{title}:"
    for one in findings:
        yield f"  {safe(one.code)}  {safe(one.place)}"
        yield f"        {safe(one.sentence)}"
        yield f"        -> {safe(one.remedy)}"
