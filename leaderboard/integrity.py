"""Level 1: what lies in the folder is what the manifest names, of these kinds and sizes, and nothing else.

Nothing is followed, unpacked or run here; a file is opened only after its name and its kind are known.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apl_bench.leaderboard.card import missing_headings
from apl_bench.leaderboard.findings import Finding, Refused, shown
from apl_bench.leaderboard.packing.malformed import malformed
from apl_bench.leaderboard.packing.packing import BOUNDS, SHARED, Sum
from apl_bench.leaderboard.strict import open_plain, read_json
from apl_bench.leaderboard.submission import (
    CARD_FILE,
    MANIFEST_FILE,
    MANIFEST_SCHEMA,
    RESULTS_FILE,
    SUBMISSION_FILE,
    Submission,
)

STATED = (SUBMISSION_FILE, RESULTS_FILE, CARD_FILE, MANIFEST_FILE)
MAX_FILES, MAX_BYTES = 10_000, 2**30
_SEED = re.compile(r"runs/seed-[0-9]{3,16}\.jsonl\.zst")
_REMEDY = "build the submission with apl-bench submit"


@dataclass(frozen=True)
class Manifest:
    """MANIFEST.json: the sums of the folder's other files, and of each run's files as they were before packing."""

    files: Mapping[str, Sum]
    runs: Mapping[str, Mapping[str, Sum]]

    @property
    def seed_files(self) -> list[str]:
        """Those that hold runs."""
        return sorted(name for name in self.files if _SEED.fullmatch(name))


@dataclass(frozen=True)
class Read:
    """A folder whose files are those that it says."""

    submission: Submission
    manifest: Manifest
    findings: tuple[Finding, ...]


def read(folder: Path) -> Read:
    """What a folder states, with the findings that do not stop the other levels. Raises Refused for all others."""
    odd = list(_odd_files(folder))
    if odd:
        raise Refused(odd)
    manifest = read_manifest(folder)
    wrong = list(_wrong_sums(folder, manifest))
    if wrong:
        raise Refused(wrong)
    submission = Submission.read(folder)
    return Read(submission, manifest, tuple(_said(folder, submission)))


def read_manifest(folder: Path) -> Manifest:
    """MANIFEST.json. Raises Refused."""
    value = read_json(folder / MANIFEST_FILE, MANIFEST_FILE)
    with malformed(MANIFEST_FILE, "V110"):
        if value.keys() != {"schema", "files", "runs"} or value["schema"] != MANIFEST_SCHEMA:
            raise ValueError(f"expected schema {MANIFEST_SCHEMA!r}, files and runs")
        return Manifest(_sums(value["files"]), {path: _sums(files) for path, files in value["runs"].items()})


def _sums(value: Any) -> dict[str, Sum]:
    found = {name: Sum(**table) for name, table in value.items()}
    if not all(isinstance(one.sha256, str) and type(one.num_bytes) is int for one in found.values()):
        raise ValueError("a sum is a sha256 and a number of bytes")
    return found


def _odd_files(folder: Path) -> Iterator[Finding]:
    """What does not belong into a submission, or is missing."""
    found: list[str] = []
    total = 0
    for name, entry in _walk(folder, ""):
        mode = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(mode.st_mode):
            yield Finding("V102", shown(name), "it is a link", "put the file itself there")
        elif stat.S_ISDIR(mode.st_mode):
            if name != "runs":
                yield Finding("V101", shown(name), "no folder of this name belongs here", "remove it")
        elif not stat.S_ISREG(mode.st_mode):
            yield Finding("V103", shown(name), "it is no plain file", "remove it")
        elif not (name in (*STATED, SHARED) or _SEED.fullmatch(name)):
            yield Finding("V101", shown(name), "no file of this name belongs here", "remove it")
        found.append(name)
        total += mode.st_size
        if len(found) > MAX_FILES or total > MAX_BYTES:
            sentence = f"it has more than {MAX_FILES} files or {MAX_BYTES} bytes"
            yield Finding("V106", ".", sentence, _REMEDY)
            return
    for name in (*STATED, SHARED):
        if name not in found:
            yield Finding("V104", name, "it is missing", _REMEDY)


def _walk(folder: Path, below: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry with its path; of folders only runs/ is looked into, and no link is followed."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = f"{below}{entry.name}"
            yield name, entry
            if name == "runs" and entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, "runs/")


def _wrong_sums(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """Files that are not what the manifest says of them, or that it does not name."""
    there = {name for name, entry in _walk(folder, "") if entry.is_file(follow_symlinks=False)} - {MANIFEST_FILE}
    for name in sorted(there - manifest.files.keys()):
        yield Finding("V111", name, "the manifest does not name it", _REMEDY)
    for name, stated in manifest.files.items():
        if name not in there:
            yield Finding("V104", shown(name), "the manifest names it, and it is missing", _REMEDY)
        elif sum_of(folder / name, name) != stated:
            yield Finding("V111", name, "its sha256 or its size is not that of the manifest: it was changed", _REMEDY)


def sum_of(path: Path, place: str) -> Sum:
    """The sum of a file, read piece by piece. Raises Refused."""
    digest, num_bytes = hashlib.sha256(), 0
    with open_plain(path, place) as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
            num_bytes += len(chunk)
            if num_bytes > BOUNDS.num_packed_bytes:
                raise Refused([Finding("V106", place, f"it has more than {num_bytes} bytes", _REMEDY)])
    return Sum(digest.hexdigest(), num_bytes)


def _said(folder: Path, submission: Submission) -> Iterator[Finding]:
    """What is wrong with the words of a submission."""
    if folder.resolve().name != submission.id:
        yield Finding("V115", SUBMISSION_FILE, f"its id is {shown(submission.id)}, and the folder has another name",
                      "name the folder as the id")  # fmt: skip
    missing = missing_headings(submission.card)
    if missing:
        yield Finding("V116", CARD_FILE, f"it lacks the headings {', '.join(missing)}", "add them")
    for place, text in words_of(submission):
        if has_controls(text):
            yield Finding("V114", place, "it holds control or invisible characters, which can trick a terminal",
                          "write plain text")  # fmt: skip


def words_of(submission: Submission) -> Iterator[tuple[str, str]]:
    """Every text that its author wrote, with its place."""
    yield CARD_FILE, submission.card
    yield from _texts(SUBMISSION_FILE, submission.to_json())


def _texts(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from [(place, name)] if has_controls(name) else []
            yield from _texts(f"{place} {name}" if not has_controls(name) else place, item)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _texts(f"{place}[{number}]", item)


def has_controls(text: str) -> bool:
    """Whether a text holds what no reader sees and a terminal may obey; line ends and tabs are fine."""
    plain = text.replace("\n", " ").replace("\t", " ").replace("\r\n", " ")
    return not plain.isprintable() and any(
        unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in plain
    )
