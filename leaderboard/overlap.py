"""Level 4 between submissions: evaluations and replies that another submission has already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from apl_bench.leaderboard.findings import Finding, Refused
from apl_bench.leaderboard.inspection import RunReport, short_hash
from apl_bench.leaderboard.integrity import Manifest, read_manifest
from apl_bench.leaderboard.packing.malformed import malformed
from apl_bench.leaderboard.packing.packing import read_packed

_WAYPOINTS = "waypoints/"


def overlap_flags(manifest: Manifest, reports: Sequence[RunReport], others: Sequence[Path]) -> Iterator[Finding]:
    """What other submissions' folders hold of this one: whole evaluations of trained policies, and ids of replies.

    The same strategy with the same seed on an equal machine gives the same evaluation: the flag says whose.
    """
    ours = _evaluations(manifest)
    ids = {response_id for report in reports if report.prints for response_id in report.prints.response_ids}
    for folder in others:
        try:
            other = read_manifest(folder)
            same = sorted(ours[sha256] for sha256 in ours.keys() & _evaluations(other).keys())
            num_ids = len(ids & set(_response_ids(folder, other))) if ids else 0
        except Refused as error:
            found = error.findings[0]
            yield Finding("V410", folder.name, f"it was not compared with this one: {found.code} {found.sentence}",
                          "verify it as well")  # fmt: skip
            continue
        if same:
            yield Finding("V410", f"runs/{same[0]}", f"{len(same)} runs end with the very evaluation of a run in the "
                          f"submission {folder.name}", "see whether they are the same strategy and seed")  # fmt: skip
        if num_ids:
            yield Finding("V410", "runs", f"{num_ids} replies have ids of replies in the submission {folder.name}",
                          "see whether they share a ledger")  # fmt: skip


def _evaluations(manifest: Manifest) -> dict[str, str]:
    """The checksum of each run's last waypoint, and the run."""
    found: dict[str, str] = {}
    for path, files in manifest.runs.items():
        names = [name for name in files if name.startswith(_WAYPOINTS) and name != f"{_WAYPOINTS}0000.jsonl"]
        if names:
            found[files[max(names)].sha256] = path
    return found


def _response_ids(folder: Path, manifest: Manifest) -> Iterator[int]:
    for name in manifest.seed_files:
        for head, *_ in read_packed(folder, name):
            with malformed(name):
                yield from [short_hash(one) for part in head.get("parts", {}).values() for one in _ids(part)]


def _ids(part: Mapping[str, Mapping[str, Mapping[str, Sequence[str | None]]]]) -> list[str]:
    replies = part.get("replies") or {}
    return [one for one in replies.get("response_id", {}).get("each", ()) if one]
