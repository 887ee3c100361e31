"""Level 3 of the whole: what is stated against what the runs give, number by number."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from apl_bench.leaderboard.comparison_fields import ALL, COMPARISON, Required, inside, of_item
from apl_bench.leaderboard.facts import facts_of
from apl_bench.leaderboard.findings import Finding, shown
from apl_bench.leaderboard.submission import RESULTS_FILE, SUBMISSION_FILE, Submission
from apl_bench.records import Run
from apl_bench.types import SpecError

TOLERANCE = 1e-9
MOST_SHOWN = 10
_STATED = (
    "task",
    "preset",
    "preset_sha256",
    "changes",
    "strategies",
    "seeds",
    "budget",
    "environments",
    "costs",
    "claims",
)
_SENTENCES = re.compile(r"'(?:notes'(?:\[[0-9]+\])?|unranked_because')$")
MAX_NOTES, MAX_NOTE = 1000, 2000  # sentences; letters of one
_REMEDY = "build the submission again with apl-bench submit: it states what the runs give"


def claim_findings(submission: Submission, runs: Sequence[Run]) -> Iterator[Finding]:
    """Differences between the statements and the runs."""
    try:
        facts = facts_of(runs, submission.family)
    except SpecError as error:
        yield Finding("V215", "runs", shown(str(error)), "submit runs of one task, preset, settings, data and weights, "
                      "and a family of hypotheses about them")  # fmt: skip
        return
    if submission.division == "closed" and facts.changes:
        yield Finding("V201", SUBMISSION_FILE, f"division closed, and the preset is changed: {shown(facts.changes)}",
                      "submit to division open")  # fmt: skip
    for name in _STATED:
        stated, recomputed = _plain(getattr(submission, name)), _plain(getattr(facts, name))
        yield from _findings("V307", SUBMISSION_FILE, differences(name, stated, recomputed))
    results = list(differences("", _plain(submission.results), _plain(facts.results), [COMPARISON]))
    yield from _findings("V306", RESULTS_FILE, (one for one in results if not _is_wording(*one)))
    yield from _wording(next((one for one in results if _is_wording(*one)), None))
    if submission.num_runs_tried < len(runs):
        yield Finding("V307", f"{SUBMISSION_FILE} num_runs_tried", f"it states {submission.num_runs_tried}, and "
                      f"{len(runs)} runs are submitted", "say how many runs were made in all")  # fmt: skip


def _findings(code: str, file: str, found: Iterator[tuple[str, Any, Any]]) -> Iterator[Finding]:
    for place, ours, theirs in islice(found, MOST_SHOWN):
        yield Finding(code, f"{file} {place}", f"it states {shown(ours)}; the runs give {shown(theirs)}", _REMEDY)


def _is_wording(place: str, stated: Any, found: Any) -> bool:
    """Whether a difference is between sentences for people, whose words a later version may change."""
    return _SENTENCES.search(place) is not None and type(stated) is type(found) and all(map(_is_said, (stated, found)))


def _is_said(value: Any) -> bool:
    sentences = value if isinstance(value, list) else [value]
    return len(sentences) <= MAX_NOTES and all(isinstance(one, str) and len(one) <= MAX_NOTE for one in sentences)


def _wording(first: tuple[str, Any, Any] | None) -> Iterator[Finding]:
    if first is not None:
        place, ours, theirs = first
        yield Finding("V416", f"{RESULTS_FILE} {place}", f"it says {shown(ours)}; this version says {shown(theirs)}",
                      "see that both mean the same; if only this version is newer, record it again")  # fmt: skip


def differences(place: str, stated: Any, found: Any, required: Required = ALL) -> Iterator[tuple[str, Any, Any]]:
    """Leaves that differ by more than 1e-9, with their paths: all that is stated, and fields that are `required`."""
    if isinstance(stated, Mapping) and isinstance(found, Mapping):
        for name in dict.fromkeys([*found, *stated]):
            if name in stated or required is ALL or name in required:
                yield from differences(f"{place} {shown(name)}".strip(), stated.get(name, ABSENT),
                                       found.get(name, ABSENT), inside(required, name))  # fmt: skip
    elif isinstance(stated, list) and isinstance(found, list) and len(stated) == len(found):
        for number, (ours, theirs) in enumerate(zip(stated, found, strict=True)):
            yield from differences(f"{place}[{number}]", ours, theirs, of_item(required))
    elif not _same(stated, found):
        yield place, stated, found


class _Absent:
    """A field that is not there, which is something else than null."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()


def _same(stated: Any, found: Any) -> bool:
    numbers = all(type(value) in (int, float) for value in (stated, found))
    if numbers:
        return math.isclose(stated, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(stated) is type(found) and bool(stated == found)


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return _plain(asdict(value)) if hasattr(value, "__dataclass_fields__") else value
