"""Tests of the conformance kit."""

from __future__ import annotations

from collections.abc import Sequence

from apl_bench.checks import Finding


def codes(findings: Sequence[Finding]) -> list[str]:
    """What was found, by code."""
    return [finding.code for finding in findings]
