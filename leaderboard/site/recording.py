"""From a submission to its records: verified, rebuilt in a folder of ours, and read once: a build opens no run."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from apl_bench import __version__
from apl_bench.comparison.grouping import groups_of
from apl_bench.leaderboard.site.controls import Control, controls
from apl_bench.leaderboard.site.entries import Verified
from apl_bench.leaderboard.site.history import Event, append, read_history
from apl_bench.leaderboard.site.outcomes import Outcomes, outcomes_of
from apl_bench.leaderboard.site.store import REPORT_FILE, Store
from apl_bench.leaderboard.submission import Submission
from apl_bench.leaderboard.verifying import Options, Verification, verify
from apl_bench.records import Run, find_runs
from apl_bench.types import SpecError
from apl_bench.wording import quantity

NUM_PAIRS = 60  # single pairs in a recorded report: it is committed, and stays light
NUM_SHOWN = 5  # failures of a submission in one message


@dataclass(frozen=True)
class Opened:
    """A submission that passed, with its runs rebuilt; they are gone when the context ends."""

    verification: Verification
    runs: Sequence[Run]

    @property
    def groups(self) -> Mapping[str, Sequence[Run]]:
        """The runs of each comparison, by its name."""
        return {group.name: [run for run in self.runs if run in group.runs] for group in groups_of(self.runs)}

    def outcomes(self) -> list[Outcomes]:
        """Of each comparison."""
        return [outcomes_of(name, runs) for name, runs in self.groups.items()]

    def controls(self) -> dict[str, list[Control]]:
        """Of each comparison."""
        return {name: controls(runs) for name, runs in self.groups.items()}


@contextmanager
def opened(store: Store, submission: str, num_workers: int) -> Iterator[Opened]:
    """A submission, verified and rebuilt. Raises SpecError with the first failures where it does not pass."""
    folder = store.folder(submission)
    others = tuple(store.submissions / other for other in store.ids() if other != submission)
    with tempfile.TemporaryDirectory(prefix="apl-bench-record-") as name:
        found = verify(folder, Options(num_workers, others), Path(name) / "runs")
        if not found.passed:
            raise SpecError("\n".join(_failures(submission, found)))
        yield Opened(found, find_runs([Path(name) / "runs"]))


def _failures(submission: str, found: Verification) -> Iterator[str]:
    yield f"{submission} fails {quantity(len(found.failures), 'check')}; apl-bench verify lists all"
    for failure in found.failures[:NUM_SHOWN]:
        yield f"  {failure.code} {failure.place}: {failure.sentence}"


def record(store: Store, submission: str, num_workers: int, today: str) -> Iterator[str]:
    """Write everything that the site needs of a submission; yields what was done, a line each. Raises SpecError."""
    with opened(store, submission, num_workers) as found:
        store.write_verified(submission, _verified(found.verification, today))
        store.write_outcomes(submission, found.outcomes())
        checked = found.verification
        yield f"{submission}: {quantity(checked.num_runs, 'run')} verified, {quantity(len(checked.flags), 'flag')}"
        _write_report(store, submission, found.runs)
        yield from _write_controls(store, submission, found)
    if not any(event.id == submission and event.event == "added" for event in read_history(store.history)):
        append(store.history, Event(today, submission, "added"))


def record_controls(store: Store, submission: str, num_workers: int) -> Iterator[str]:
    """Write the control rows of a submission anew; yields what was done. Raises SpecError."""
    with opened(store, submission, num_workers) as found:
        yield from _write_controls(store, submission, found)


def _write_controls(store: Store, submission: str, found: Opened) -> Iterator[str]:
    made = found.controls()
    store.write_controls(submission, made)
    for name, rows in made.items():
        absent = [row.name for row in rows if not row.by_seed]
        yield f"{submission}: controls of {name}" + (f", without {', '.join(absent)}" if absent else "")


def _verified(found: Verification, today: str) -> Verified:
    return Verified(today, __version__, found.num_runs, found.num_judgments, tuple(found.flags))


def _write_report(store: Store, submission: str, runs: Sequence[Run]) -> None:
    from apl_bench.report.page import ReportOptions, write_report  # matplotlib, which nothing else here needs

    title = Submission.read(store.folder(submission)).name
    with tempfile.TemporaryDirectory(prefix="apl-bench-report-") as name:
        page = write_report(runs, Path(name), ReportOptions(num_pairs=NUM_PAIRS, title=title, has_files=False))
        shutil.copyfile(page, store.records / submission / REPORT_FILE)


def wrong_records(store: Store, submission: str, num_workers: int) -> list[str]:
    """Verify a submission again and make its records again: one sentence for each that is not as recorded.

    The report is not compared: its figures are drawn, and no two machines draw the same bytes.
    """
    try:
        recorded = store.recorded(submission)
        with opened(store, submission, num_workers) as found:
            again = _verified(found.verification, recorded.verified.date)
            outcomes = {one.name: one for one in found.outcomes()}
            made = found.controls()
    except SpecError as error:
        return str(error).splitlines()
    differs = {
        "verification.json": replace(again, version=recorded.verified.version) != recorded.verified,
        "outcomes.json": outcomes != recorded.outcomes,
        "controls.json": _plain(made) != _plain(recorded.controls),
    }
    return [f"{store.records / submission / name} is not what the submission makes of it; write it anew: "
            f"apl-bench leaderboard record {submission}" for name, wrong in differs.items() if wrong]  # fmt: skip


def _plain(found: Mapping[str, Sequence[Control]]) -> str:
    return json.dumps({name: [row.to_dict() for row in rows] for name, rows in found.items()}, sort_keys=True)
