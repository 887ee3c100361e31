"""apl-bench submit: runs packed as a submission to the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.console import safe
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.records import Run

OUT = Path("leaderboard/submissions")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--name", required=True, help="What the leaderboard calls the submission.")
@click.option("--submitter", required=True, help="Who submits: a person or a group.")
@click.option("--contact", default="", help="An address or a page, to be published.")
@click.option("--affiliation", default="", help="To be published.")
@click.option("--division", type=click.Choice(["closed", "open"]), default="closed", show_default=True,
              help="closed: a preset as it ships, only strategies differ. open: anything, declared.")  # fmt: skip
@click.option("--runs-tried", type=click.IntRange(1), help="All runs made while this was developed, dropped ones too.  "
              "[default: as many as are submitted]")  # fmt: skip
@click.option("--card", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Markdown with the headings of the template.  [default: the template, to be filled in]")  # fmt: skip
@click.option("--family", "family_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Hypotheses as JSON, as they were declared before the runs; see docs/statistics.md.  [default: each "
                   "other ranked strategy, at the last waypoint]")  # fmt: skip
@click.option("--licence", default="CC0-1.0", show_default=True, help="Of the texts and judgments.")
@click.option("--note", default="", help="A sentence or two, to be published.")
@click.option("--id", "identifier", help="The folder's name.  [default: from --name]")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
def submit(runs: tuple[Path, ...], name: str, out: Path, **options: Any) -> None:
    """Pack the complete runs in RUNS (folders, searched at any depth) as a submission, a folder below --out.

    All runs are of one task, preset and settings. Check it with `apl-bench verify`, fill in its CARD.md, and open a
    pull request with the folder.
    """
    from apl_bench.leaderboard.building import Statement, build
    from apl_bench.leaderboard.submission import Submitter
    from apl_bench.records import find_runs
    from apl_bench.statistics import Family

    found = find_runs(runs)
    if options["division"] == "closed":
        _warn_of_harness(found)
    statement = Statement(
        name=name,
        submitter=Submitter(options["submitter"], options["contact"], options["affiliation"]),
        division=options["division"],
        num_runs_tried=options["runs_tried"] or len(found),
        licence=options["licence"],
        note=options["note"],
        card=_card(options["card"]),
        id=options["identifier"],
        family=Family.read(options["family_file"]) if options["family_file"] else None,
    )
    folder = build(found, statement, out)
    num_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    click.echo(
        f"{len(found)} runs in {num_bytes / 1e6:.2f} MB ({num_bytes / len(found) / 1e3:.0f} kB a run): {safe(folder)}"
    )
    click.echo(f"Next: apl-bench verify {safe(folder)}    # then read docs/submissions.md")


def _warn_of_harness(runs: Sequence[Run]) -> None:
    """Before anything is packed: whether division closed takes what the runs were made with."""
    from apl_bench.leaderboard.building import harness_of
    from apl_bench.leaderboard.releases import doubt

    harness = harness_of(runs)
    said = doubt(harness.source_sha256, harness.dirty)
    if said:
        click.echo(f"warning: {said}. Where they do not count division closed fails with V210: ask a maintainer to "
                   "list their commit, or give --division open; see docs/submissions.md", err=True)  # fmt: skip


def _card(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not UTF-8; write the card as UTF-8") from None
