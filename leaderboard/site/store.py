"""The leaderboard's folder: what was submitted, what was recorded of it, and what happened since.

    leaderboard/submissions/<id>/               as it was submitted
    leaderboard/records/<id>/outcomes.json      letters for each run and test prompt (outcomes.py)
    leaderboard/records/<id>/controls.json      control rows (controls.py)
    leaderboard/records/<id>/verification.json  what `apl-bench verify` said
    leaderboard/records/<id>/report.html        the report of its runs
    leaderboard/history.jsonl                   what happened (history.py)

A record names the sha256 of the manifest that it was made from; where the submission now has another, it is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apl_bench.leaderboard.findings import Finding
from apl_bench.leaderboard.site import controls, outcomes
from apl_bench.leaderboard.site.controls import Control
from apl_bench.leaderboard.site.entries import Entry, Recorded, Verified
from apl_bench.leaderboard.site.history import Event, read_history, require_known
from apl_bench.leaderboard.site.outcomes import Outcomes
from apl_bench.leaderboard.submission import MANIFEST_FILE, Submission
from apl_bench.records import write_atomically
from apl_bench.types import SpecError

VERIFICATION_SCHEMA = "apl-verification/1"
OUTCOMES_FILE, CONTROLS_FILE, VERIFICATION_FILE = "outcomes.json", "controls.json", "verification.json"
REPORT_FILE = "report.html"


@dataclass(frozen=True)
class Store:
    """The folders and files of one leaderboard."""

    submissions: Path
    records: Path
    history: Path

    @classmethod
    def beside(cls, submissions: Path) -> Store:
        """The records and the history stand beside the folder of submissions."""
        return cls(submissions, submissions.parent / "records", submissions.parent / "history.jsonl")

    def ids(self) -> list[str]:
        """All that was submitted, by name of folder; none where there is no folder."""
        return (
            sorted(path.name for path in self.submissions.iterdir() if path.is_dir())
            if self.submissions.is_dir()
            else []
        )

    def folder(self, submission: str) -> Path:
        """Where a submission is. Raises SpecError where there is none of this id."""
        if submission not in self.ids():
            there = ", ".join(self.ids()) or "none"
            raise SpecError(f"there is no submission {submission!r} in {self.submissions}; there are: {there}")
        return self.submissions / submission

    def entries(self) -> list[Entry]:
        """Everything that the site is built from. Raises Refused and SpecError, with what to do."""
        events = read_history(self.history)
        found = [self._entry(submission, events) for submission in self.ids()]
        require_known(events, [entry.id for entry in found])
        return found

    def _entry(self, submission: str, events: Sequence[Event]) -> Entry:
        read = Submission.read(self.folder(submission))
        if read.id != submission:
            raise SpecError(f"{self.folder(submission)} holds a submission of the id {read.id!r}; name the folder so")
        mine = tuple(event for event in events if event.id == submission)
        return Entry(read, self.recorded(submission), mine)

    def recorded(self, submission: str) -> Recorded:
        """What was recorded of a submission. Raises SpecError where that is missing, or of another manifest."""
        verified = self._read(submission, VERIFICATION_FILE, VERIFICATION_SCHEMA)
        found = self._read(submission, OUTCOMES_FILE, outcomes.SCHEMA)["comparisons"]
        shown = {one["name"]: Outcomes.from_dict(one) for one in found}
        rows: dict[str, Sequence[Control]] = {}
        if (self.records / submission / CONTROLS_FILE).exists():
            comparisons = self._read(submission, CONTROLS_FILE, controls.SCHEMA)["comparisons"]
            rows = {one["name"]: [Control.from_dict(row) for row in one["rows"]] for one in comparisons}
        return Recorded(shown, _verified(verified), rows, (self.records / submission / REPORT_FILE).exists())

    def _read(self, submission: str, name: str, schema: str) -> dict[str, Any]:
        path = self.records / submission / name
        again = f"apl-bench leaderboard record {submission}"
        if not path.exists():
            raise SpecError(f"{path} is missing; write it: {again}")
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if value.get("schema") != schema or value.get("manifest_sha256") != self.manifest_sha256(submission):
            raise SpecError(f"{path} was written for another state of the submission; write it anew: {again}")
        return value

    def manifest_sha256(self, submission: str) -> str:
        """Of MANIFEST.json, which names the checksum of every other file."""
        return hashlib.sha256((self.folder(submission) / MANIFEST_FILE).read_bytes()).hexdigest()

    def write_verified(self, submission: str, verified: Verified) -> None:
        """Write down what the verifier said."""
        self._write(submission, VERIFICATION_FILE, VERIFICATION_SCHEMA, asdict(verified))

    def write_outcomes(self, submission: str, found: Sequence[Outcomes]) -> None:
        """Write down who won where."""
        self._write(submission, OUTCOMES_FILE, outcomes.SCHEMA, {"comparisons": [one.to_dict() for one in found]})

    def write_controls(self, submission: str, found: Mapping[str, Sequence[Control]]) -> None:
        """Write down the controls of each comparison."""
        comparisons = [{"name": name, "rows": [row.to_dict() for row in rows]} for name, rows in found.items()]
        self._write(submission, CONTROLS_FILE, controls.SCHEMA, {"comparisons": comparisons})

    def _write(self, submission: str, name: str, schema: str, fields: Mapping[str, Any]) -> None:
        value = {"schema": schema, "manifest_sha256": self.manifest_sha256(submission), **fields}
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
        write_atomically(self.records / submission / name, text)


def _verified(fields: Mapping[str, Any]) -> Verified:
    known = {key: fields[key] for key in ("date", "version", "num_runs", "num_judgments")}
    return Verified(**known, flags=tuple(Finding(**flag) for flag in fields["flags"]))
