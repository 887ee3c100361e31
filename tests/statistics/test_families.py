"""Holm's correction and the family that it is over."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from apl_bench.statistics import Family, Hypothesis, holm
from apl_bench.types import SpecError

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def test_holm_by_hand() -> None:
    # in order .01 * 3 = .03, .02 * 2 = .04, .04 * 1 = .04, and never falling
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    # .03 * 2 = .06 holds the next up, which alone would be .04
    assert holm([0.03, 0.04]) == pytest.approx([0.06, 0.06])
    assert holm([]) == []


def test_what_was_declared_and_has_no_p_counts_all_the_same() -> None:
    corrected = holm([0.02, math.nan])
    assert corrected[0] == pytest.approx(0.04)
    assert math.isnan(corrected[1])


@given(p_values)
@settings(max_examples=20)
def test_holm_is_that_of_statsmodels(values: list[float]) -> None:
    assert holm(values) == pytest.approx(list(multipletests(values, method="holm")[1]))


@pytest.mark.parametrize(
    ("text", "hypothesis"),
    [
        ("certainty", Hypothesis("certainty", 512)),
        ("certainty@256", Hypothesis("certainty", 256)),
        ("mid(width=0.2, name=a@b)@128", Hypothesis("mid(width=0.2, name=a@b)", 128)),
    ],
)
def test_a_hypothesis_is_a_strategy_and_labels(text: str, hypothesis: Hypothesis) -> None:
    assert Hypothesis.parse(text, 512) == hypothesis


@pytest.mark.parametrize("text", ["@256", "certainty@", "certainty@-1", "certainty@1e3"])
def test_a_hypothesis_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="STRATEGY@LABELS"):
        Hypothesis.parse(text, 512)


def test_a_family_is_what_its_json_says(tmp_path: Path) -> None:
    family = Family((Hypothesis("certainty", 512), Hypothesis("entropy", 512)), alpha=0.1, declared=True)
    path = tmp_path / "family.json"
    for table in (family.to_table(), {"schema": "other", "family": family.to_table()}):
        path.write_text(json.dumps(table))
        assert Family.read(path) == family


@pytest.mark.parametrize(
    "table",
    [
        [], {}, {"hypotheses": 3}, {"hypotheses": ["certainty"]}, {"hypotheses": [{"strategy": 1, "num_labels": 2}]},
        {"hypotheses": [{"strategy": "a", "num_labels": True}]}, {"hypotheses": [], "alpha": "x"},
        {"hypotheses": [], "alpha": 0}, {"hypotheses": [], "rule": "none"}, {"hypotheses": []},
        {"hypotheses": [{"strategy": "a", "num_labels": 2}] * 2},
    ],
)  # fmt: skip
def test_what_is_no_family_is_refused(table: Any) -> None:
    with pytest.raises(SpecError):
        Family.of_table(table)


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("{")
    with pytest.raises(SpecError, match="is not JSON"):
        Family.read(tmp_path / "f")
