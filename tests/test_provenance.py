"""The checksum over the sources that can change a result, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from apl_bench import provenance


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("runner.py", "engine/dpo.py", "presets/a.toml", "cli/run.py", "replay.py", "tasks/data.bin"):
        path = tmp_path / "apl_bench" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    monkeypatch.setattr(provenance, "FOLDER", tmp_path / "apl_bench")
    return tmp_path / "apl_bench"


def fresh() -> str:
    provenance.source_sha256.cache_clear()
    return provenance.source_sha256()


@pytest.mark.parametrize(
    ("name", "counts"),
    [("runner.py", True), ("engine/dpo.py", True), ("presets/a.toml", True), ("new.py", True), ("cli/run.py", False),
     ("replay.py", False), ("tasks/data.bin", False)],
)  # fmt: skip
def test_what_a_run_can_use_counts(package: Path, name: str, counts: bool) -> None:
    before = fresh()
    (package / name).write_text("x = 2\n")
    assert (fresh() != before) is counts
    provenance.source_sha256.cache_clear()


def test_a_folder_without_git_is_no_checkout(package: Path) -> None:
    assert provenance.checkout() is None


def test_the_same_through_a_link(package: Path) -> None:
    before = fresh()
    (package / "engine").rename(package.parent / "engine")
    (package / "engine").symlink_to("../engine")
    assert fresh() == before
    provenance.source_sha256.cache_clear()
