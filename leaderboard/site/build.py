"""The site as files: built from what is recorded, without a model, a network or the runs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from apl_bench.leaderboard.site.boards import boards
from apl_bench.leaderboard.site.pages import index_html, submission_html
from apl_bench.leaderboard.site.store import REPORT_FILE, Store
from apl_bench.leaderboard.site.tables import to_csv, to_json, to_markdown
from apl_bench.records import write_atomically

INDEX_FILES = ("index.html", "leaderboard.json", "leaderboard.csv", "leaderboard.md")
PAGES = "submissions"


def site(store: Store) -> dict[str, str]:
    """Every file of the site by its path, reports left out: they are copied. Raises SpecError and Refused."""
    entries = store.entries()
    found = boards(entries)
    texts = (index_html(found, entries), to_json(found, entries), to_csv(found), to_markdown(found))
    pages = {f"{PAGES}/{entry.id}/index.html": submission_html(entry, found) for entry in entries}
    return {**dict(zip(INDEX_FILES, texts, strict=True)), **pages}


def reports(store: Store) -> dict[str, Path]:
    """The recorded reports by their path in the site."""
    found = {name: store.records / name / REPORT_FILE for name in store.ids()}
    return {f"{PAGES}/{name}/{REPORT_FILE}": path for name, path in found.items() if path.exists()}


def build(store: Store, out: Path) -> dict[str, str]:
    """Write the site, and remove the pages of submissions that are no longer there; returns what was written."""
    files, copied = site(store), reports(store)
    for name, text in files.items():
        write_atomically(out / name, text)
    for name, path in copied.items():
        shutil.copyfile(path, out / name)
    for path in _odd(out, {**files, **copied}):
        path.unlink()
    return files


def outdated(store: Store, out: Path) -> list[str]:
    """What is not as a build would leave it, one sentence a file; nothing where the site is current."""
    expected = {name: text.encode() for name, text in site(store).items()}
    expected |= {name: path.read_bytes() for name, path in reports(store).items()}
    wrong = [_difference(out / name, content) for name, content in expected.items()]
    return [*filter(None, wrong), *(f"{path} belongs to no submission" for path in _odd(out, expected))]


def _difference(path: Path, content: bytes) -> str:
    if not path.is_file():
        return f"{path} is missing"
    return "" if path.read_bytes() == content else f"{path} is not what the submissions make of it"


def _odd(out: Path, expected: Mapping[str, object]) -> list[Path]:
    """Files below the folder of pages that nothing here has written."""
    folder = out / PAGES
    found = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return [path for path in found if path.relative_to(out).as_posix() not in expected]
