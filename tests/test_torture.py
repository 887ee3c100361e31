"""A few kills of what `python -m tests.torture` does two hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import torture


@pytest.mark.usefixtures("loopback")
def test_a_process_that_buys_labels_can_be_killed_at_any_moment(tmp_path: Path) -> None:
    report = torture(num_kills=6, num=3000, folder=tmp_path / "ledger", at_once=4, seed=1)
    assert report.num_kills == 6
    assert report.num_recorded == report.num_comparisons == 3000
    assert report.most_lost_in_a_kill <= 4
    assert report.num_billed > 0
