"""apl-bench verify: a submission recomputed, offline and with no model, run by run.

Runs are rebuilt in a folder of ours, those of one seed at a time, in as many processes as are wanted.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from apl_bench.comparison import strategy_label
from apl_bench.leaderboard.claims import claim_findings
from apl_bench.leaderboard.crosschecks import cross_findings, few_seeds, harness_findings
from apl_bench.leaderboard.derived import Derived, derive
from apl_bench.leaderboard.findings import Finding, Refused, refuse
from apl_bench.leaderboard.inspection import (
    Inspected,
    RunReport,
    checked_files,
    checked_path,
    checked_spec,
    refused_report,
    report_of,
)
from apl_bench.leaderboard.integrity import Manifest, Read, read, words_of
from apl_bench.leaderboard.overlap import overlap_flags
from apl_bench.leaderboard.packing.files import Line, Rebuilt, RebuiltRun
from apl_bench.leaderboard.packing.malformed import MALFORMED, malformed
from apl_bench.leaderboard.packing.packing import (
    Sum,
    read_packed,
    read_tables,
    rebuild,
    unpack_to,
)
from apl_bench.leaderboard.packing.rows import Tables
from apl_bench.leaderboard.plausibility import plausibility_flags
from apl_bench.leaderboard.protocol import protocol_findings
from apl_bench.leaderboard.recomputation import recomputation_findings
from apl_bench.leaderboard.submission import Submission
from apl_bench.records import Run
from apl_bench.spec import RunSpec

CANNOT_PROVE = (
    "Offline checks cannot prove that a provider gave a recorded reply, that a person did not write it, that the "
    "policy which a run names wrote its completions, nor that no further runs were made. A maintainer repeats a step "
    "and asks some questions again before a row is called audited."
)


@dataclass(frozen=True)
class Options:
    """In how many processes to verify, and what to hold a submission against: other submissions' folders."""

    num_workers: int = 2
    others: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Verification:
    """What was found: failures of levels 1 to 3, and flags, which a person has to look at."""

    id: str
    num_runs: int
    num_judgments: int
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> list[Finding]:
        return [found for found in self.findings if not found.is_flag]

    @property
    def flags(self) -> list[Finding]:
        return [found for found in self.findings if found.is_flag]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures


def verify(folder: Path, options: Options, unpacked: Path | None = None) -> Verification:
    """Check all four levels. `unpacked`: where the runs' directories are left, for `replay`, `compare` and `report`."""
    try:
        found = read(folder)
    except Refused as error:
        return Verification(folder.resolve().name, 0, 0, error.findings)
    if unpacked is not None:
        return _verify(folder, found, options, unpacked)
    with tempfile.TemporaryDirectory(prefix="apl-bench-verify-") as name:
        return _verify(folder, found, options, Path(name))


def _verify(folder: Path, found: Read, options: Options, target: Path) -> Verification:
    try:
        reports = _reports(folder, found, options, target)
    except Refused as error:
        return Verification(found.submission.id, 0, 0, (*found.findings, *error.findings))
    findings = [*found.findings, *harness_findings(found.submission), *_unpacked(found.manifest, reports),
                *(finding for report in reports for finding in report.findings),
                *cross_findings(found.submission, reports), *few_seeds(found.submission),
                *_markup(found.submission)]  # fmt: skip
    if all(report.prints for report in reports):
        with_runs = [Run(target / report.path) for report in reports]
        findings += _guarded(found.submission, with_runs)
    findings += overlap_flags(found.manifest, reports, options.others)
    num_judgments = sum(report.num_judgments for report in reports)
    return Verification(found.submission.id, len(reports), num_judgments, tuple(dict.fromkeys(findings)))


def _guarded(submission: Submission, runs: Sequence[Run]) -> list[Finding]:
    """The claims; runs that cannot even be compared are a finding."""
    try:
        return list(claim_findings(submission, runs))
    except MALFORMED as error:
        return [Finding("V303", "runs", f"the runs cannot be compared: {type(error).__name__}", "submit whole runs")]


@dataclass(frozen=True)
class Job:
    """The runs of one file, and what is needed to check them."""

    folder: Path
    name: str
    target: Path
    derived: Derived | None
    sums: dict[str, dict[str, Sum]]


def _reports(folder: Path, found: Read, options: Options, target: Path) -> list[RunReport]:
    """Every run, looked at; raises Refused where the first cannot be read at all."""
    names = found.manifest.seed_files
    if not names:
        raise refuse("V104", "runs", "there are no runs", "build the submission with apl-bench submit")
    spec = _first_spec(folder, names[0])
    sums = {path: dict(files) for path, files in found.manifest.runs.items()}
    if options.num_workers <= 1:
        derived = derive(spec)
        return [report for name in names for report in check_seed(Job(folder, name, target, derived, sums))]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as alone:  # its memory goes with it: reading the data takes most of all
        derived = alone.submit(derive, spec).result()
    jobs = [Job(folder, name, target, derived, sums) for name in names]
    with ProcessPoolExecutor(min(options.num_workers, len(jobs)), context) as workers:
        return [report for reports in workers.map(check_seed, jobs) for report in reports]


def _first_spec(folder: Path, name: str) -> RunSpec:
    head = next(read_packed(folder, name), None)
    if not head:
        raise refuse("V112", name, "it holds no run", "build the submission with apl-bench submit")
    with malformed(name):
        return checked_spec(head[0]["spec"], name)[1]


def check_seed(job: Job) -> list[RunReport]:
    """The runs of a seed's file. Raises Refused where the file is none of ours."""
    tables = read_tables(job.folder)
    return [_check_run(job, packed, tables) for packed in read_packed(job.folder, job.name)]


def _check_run(job: Job, packed: Sequence[Line], tables: Tables) -> RunReport:
    head, *rest = packed
    name, spec = job.name, None
    try:
        with malformed(job.name):
            _, spec = checked_spec(head["spec"], f"{job.name} spec.json")
            name = checked_path(head["path"], spec, job.name)
            checked_files(head, rest, spec, f"{job.name} {name}")
        rebuilt = rebuild(packed, tables, f"{job.name} {name}")
        _compare_sums(name, rebuilt.files, job.sums.get(name, {}))
        unpack_to(job.target / name, rebuilt.files)
        return _inspect(_inspected(job, name, head, replace(rebuilt, files={})))
    except Refused as error:
        return refused_report(name, spec, error)


def _inspected(job: Job, name: str, head: Line, rebuilt: Rebuilt) -> Inspected:
    parts = head.get("parts", {})
    anew = frozenset(part for part in parts if parts[part]["replies"] is None)
    frames = {part: parts[part].get("frame") for part in parts}
    return Inspected(RebuiltRun.of(job.target / name, rebuilt), name, job.derived, anew, "parts" in head, frames)


def _inspect(run: Inspected) -> RunReport:
    """Levels 2 to 4 of a run. Rows that our code cannot read are a finding, whatever it raises."""
    findings: list[Finding] = []
    try:
        findings += protocol_findings(run)
        findings += recomputation_findings(run)
        findings += plausibility_flags(run)
        return report_of(run, findings)
    except MALFORMED as error:
        place = run.place("")
        sentence = f"it cannot be recomputed: {type(error).__name__}"
        failed = Finding("V303", place.rstrip("/"), sentence, "submit what the run recorded")
        return RunReport(run.name, strategy_label(run.spec), run.spec.seed, None, (*findings, failed))


def _compare_sums(name: str, files: Mapping[str, bytes], stated: Mapping[str, Sum]) -> None:
    """Raise Refused (V111) where the rebuilt files are not those of the manifest."""
    wrong = sorted(file for file in {*files, *stated} if file not in files or stated.get(file) != Sum.of(files[file]))
    if wrong:
        raise Refused([Finding("V111", f"runs/{name}/{file}", "what is rebuilt is not the file that the manifest names",
                               "build the submission with apl-bench submit") for file in wrong[:5]])  # fmt: skip


def _unpacked(manifest: Manifest, reports: Sequence[RunReport]) -> Iterator[Finding]:
    """Runs that the manifest names and no file holds."""
    for path in sorted(manifest.runs.keys() - {report.path for report in reports}):
        yield Finding("V104", f"runs/{path}"[:200], "the manifest names this run, and no file holds it", "submit it")


def _markup(submission: Submission) -> Iterator[Finding]:
    """Words with signs of HTML: pages escape them, and people may wonder."""
    marked = [place for place, text in words_of(submission) if "<" in text and ">" in text]
    if marked:
        yield Finding(
            "V409", marked[0], f"{len(marked)} texts hold what looks like HTML; it is shown as text", "look at it"
        )
