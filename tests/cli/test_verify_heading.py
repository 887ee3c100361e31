"""What `apl-bench verify` says of a submission in one line."""

from __future__ import annotations

import pytest

from apl_bench.cli.verify import _lines
from apl_bench.leaderboard.findings import Finding
from apl_bench.leaderboard.verifying import Verification


def findings(num_failures: int, num_flags: int) -> tuple[Finding, ...]:
    return tuple(Finding(code, "a place", "a sentence", "a remedy")
                 for code, num in (("V101", num_failures), ("V401", num_flags)) for _ in range(num))  # fmt: skip


@pytest.mark.parametrize(
    ("num_failures", "num_flags", "says"),
    [
        (0, 0, "everything comes out as claimed, 0 flags"),
        (0, 1, "everything comes out as claimed, 1 flag"),
        (1, 0, "1 FAILURE, 0 flags"),
        (2, 2, "2 FAILURES, 2 flags"),
    ],
)
def test_one_of_a_thing_is_no_plural(num_failures: int, num_flags: int, says: str) -> None:
    heading = next(_lines(Verification("mine", 1, 1, findings(num_failures, num_flags))))
    assert f"mine: 1 run, 1 judgment, {says}" in heading.splitlines()
    assert "2 runs, 0 judgments" in next(_lines(Verification("mine", 2, 0, ())))
