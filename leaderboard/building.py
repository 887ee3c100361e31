"""From runs to a submission's folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from apl_bench import __version__
from apl_bench.comparison import strategy_label
from apl_bench.leaderboard.card import missing_headings, template
from apl_bench.leaderboard.facts import Facts, facts_of
from apl_bench.leaderboard.packing.packing import Sum, dump, pack_runs
from apl_bench.leaderboard.releases import with_source
from apl_bench.leaderboard.submission import (
    CARD_FILE,
    MANIFEST_FILE,
    MANIFEST_SCHEMA,
    RESULTS_FILE,
    SUBMISSION_FILE,
    Harness,
    Submission,
    Submitter,
)
from apl_bench.provenance import checkout, source_sha256
from apl_bench.records import Run
from apl_bench.statistics import Family
from apl_bench.types import SpecError


@dataclass(frozen=True)
class Statement:
    """What only its author can say of a submission. `id`: None for the name as a folder's name. `card`: None for the
    template. `num_runs_tried`: all runs made while this was developed, failed and dropped ones included. `family`: the
    hypotheses that were declared before the runs; None where none were."""

    name: str
    submitter: Submitter
    division: str
    num_runs_tried: int
    licence: str
    note: str
    card: str | None
    id: str | None = None
    created: datetime | None = None
    family: Family | None = None


def build(runs: Sequence[Run], statement: Statement, out: Path) -> Path:
    """Write the submission of complete runs below `out`; returns its folder.

    Raises SpecError for runs that cannot be one submission, and for statements that are not true of them.
    """
    _refuse_incomplete(runs)
    facts = facts_of(runs, statement.family)
    _refuse_untrue(statement, facts)
    card = statement.card or template(statement.name, [strategy_label(run.spec) for run in _first_seeds(runs)],
                                      statement.num_runs_tried)  # fmt: skip
    missing = missing_headings(card)
    if missing:
        raise SpecError(f"the card lacks the headings {', '.join(missing)}; add them, or give no card for a template")
    submission = Submission.of(_stated(runs, statement, facts).to_json(), facts.results, card)
    folder = out / submission.id
    if folder.exists():
        raise SpecError(f"{folder} is there already; choose another --id, or remove it")
    _write(folder, submission, runs)
    return folder


def _write(folder: Path, submission: Submission, runs: Sequence[Run]) -> None:
    folder.mkdir(parents=True)
    sums = pack_runs(runs, folder)
    (folder / SUBMISSION_FILE).write_text(dump(submission.to_json()), encoding="utf-8")
    (folder / RESULTS_FILE).write_text(dump(submission.results), encoding="utf-8")
    (folder / CARD_FILE).write_text(submission.card, encoding="utf-8")
    tables = {path: {name: found.to_json() for name, found in files.items()} for path, files in sums.items()}
    write_manifest(folder, tables)


def write_manifest(folder: Path, runs: dict[str, dict[str, dict[str, object]]]) -> None:
    """MANIFEST.json: the sums of all other files of the folder, and those of the runs' own files."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    sums = {path.relative_to(folder).as_posix(): asdict(Sum.of(path.read_bytes())) for path in paths}
    text = dump({"schema": MANIFEST_SCHEMA, "files": sums, "runs": runs})
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def _stated(runs: Sequence[Run], statement: Statement, facts: Facts) -> Submission:
    created = statement.created or datetime.now(UTC)
    return Submission(
        id=statement.id or identifier(statement.name),
        name=statement.name,
        created=created.isoformat(timespec="seconds"),
        submitter=statement.submitter,
        division=statement.division,
        harness=harness_of(runs),
        num_runs_tried=statement.num_runs_tried,
        licence=statement.licence,
        note=statement.note,
        family=statement.family,
        **{name: getattr(facts, name) for name in Facts.__dataclass_fields__},
    )


def identifier(name: str) -> str:
    """A name as that of a folder: small letters, digits and dashes. Raises SpecError where nothing is left."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:63].strip("-")
    if not found:
        raise SpecError(f"the name {name!r} has no letters for a folder's name; give one with --id")
    return found


def harness_of(runs: Sequence[Run]) -> Harness:
    """What the runs say that they were made with; the sources that are installed now, where none says it. The commit is
    this checkout's where it has these sources, else that of the release that has them."""
    noted = {(str(found["version"]), str(found["source_sha256"])) for run in runs for found in noted_harnesses(run)}
    if len(noted) > 1:
        raise SpecError(f"these runs were made by {len(noted)} different states of the harness's sources; run those of "
                        "the older one again")  # fmt: skip
    version, source = noted.pop() if noted else (__version__, source_sha256())
    here, known = checkout(), with_source(source)
    if here is not None and source == source_sha256():
        return Harness(version, here.commit, source, here.dirty)
    return Harness(version, known.commit if known else None, source, dirty=False)


def noted_harnesses(run: Run) -> list[dict[str, str]]:
    """The harness that a run notes each time it begins; empty in runs that are older than this note."""
    begins = [event for event in run.events() if event.get("event") == "begin"]
    return [event["harness"] for event in begins if isinstance(event.get("harness"), dict)]


def _refuse_incomplete(runs: Sequence[Run]) -> None:
    for run in runs:
        if not run.complete:
            raise SpecError(f"{run.path} is not complete; the same `apl-bench run` command finishes it")


def _refuse_untrue(statement: Statement, facts: Facts) -> None:
    if statement.division == "closed" and facts.changes:
        raise SpecError(f"these runs change the preset {facts.preset!r} ({', '.join(facts.changes)}); division closed "
                        "is for the preset as it ships: submit with --division open")  # fmt: skip
    if statement.num_runs_tried < facts.costs.num_runs:
        raise SpecError(f"--runs-tried is {statement.num_runs_tried}, and {facts.costs.num_runs} runs are submitted; "
                        "say how many were made in all")  # fmt: skip


def _first_seeds(runs: Sequence[Run]) -> list[Run]:
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(strategy_label(run.spec), run)
    return list(first.values())


def restated(submission: Submission, facts: Facts) -> Submission:
    """A submission with everything that follows from its runs as it does."""
    return replace(submission, **{name: getattr(facts, name) for name in Facts.__dataclass_fields__})
