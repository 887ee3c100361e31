"""Agreement against published examples, and what must hold for any labels."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from apl_bench.annotation.agreement import (
    alpha_measure,
    cohen_kappa,
    kappa_measure,
    krippendorff_alpha,
    share_measure,
)

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: four observers, twelve units
KRIPPENDORFF = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
# Cohen (1960), table 2: 200 people, three diagnoses, two judges
COHEN = ((88, 14, 18), (10, 40, 10), (2, 6, 12))
LABELS = st.sampled_from("ABTS")


def ratings(rows: tuple[str, ...]) -> list[list[str | None]]:
    return [[None if cell == "." else cell for cell in row] for row in rows]


def pairs(confusion: tuple[tuple[int, ...], ...]) -> tuple[list[str], list[str]]:
    cells = [(str(i), str(j)) for i, row in enumerate(confusion) for j, num in enumerate(row) for _ in range(num)]
    return [first for first, _ in cells], [second for _, second in cells]


def test_kappa_of_cohens_own_example() -> None:
    # p_o = (88 + 40 + 12) / 200 = 0.70; p_e = 0.60 * 0.50 + 0.30 * 0.30 + 0.10 * 0.20 = 0.41
    assert cohen_kappa(*pairs(COHEN)) == pytest.approx((0.70 - 0.41) / (1 - 0.41))
    assert round(cohen_kappa(*pairs(COHEN)), 3) == 0.492


def test_alpha_of_krippendorffs_own_example() -> None:
    assert round(krippendorff_alpha(ratings(KRIPPENDORFF)), 3) == 0.743


def test_alpha_by_hand() -> None:
    # Units AA, AB: D_o = (0 + 2) / 4; n_A = 3, n_B = 1: D_e = (16 - 10) / (4 * 3) = 0.5; alpha = 0
    assert krippendorff_alpha([["A", "A"], ["A", "B"]]) == pytest.approx(0)


def test_an_item_with_one_label_says_nothing() -> None:
    alone: list[list[str | None]] = [[*row, "B" if not i else None] for i, row in enumerate([["A", "A"], ["A", "B"]])]
    assert krippendorff_alpha(alone) == pytest.approx(0)
    assert alpha_measure(alone).num_items == 2


@pytest.mark.parametrize("labels", [[], ["A"], ["A", "A", "A"]])
def test_agreement_on_one_label_alone_has_no_value(labels: list[str]) -> None:
    assert math.isnan(cohen_kappa(labels, labels))
    assert math.isnan(krippendorff_alpha([labels, labels]))
    assert math.isnan(kappa_measure(labels, labels).low)
    assert math.isnan(alpha_measure([labels, labels]).high)
    assert math.isnan(krippendorff_alpha([]))


def test_labels_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="1 labels cannot be paired with 2"):
        cohen_kappa(["A"], ["A", "B"])
    with pytest.raises(ValueError, match=r"lengths \[1, 2\]"):
        krippendorff_alpha([["A"], ["A", "B"]])
    with pytest.raises(ValueError, match="3 of 2"):
        share_measure(3, 2)


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1))
def test_kappa_is_that_of_scikit_learn(items: list[tuple[str, str]]) -> None:
    first, second = [a for a, _ in items], [b for _, b in items]
    if len({*first, *second}) > 1:
        assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
        assert cohen_kappa(first, second) == pytest.approx(cohen_kappa(second, first))


@given(st.lists(st.lists(st.none() | LABELS, min_size=3, max_size=3), min_size=1), st.randoms())
def test_alpha_knows_no_order(items: list[list[str | None]], random: Random) -> None:
    shuffled = random.sample([random.sample(item, 3) for item in items], len(items))
    ours = krippendorff_alpha([list(row) for row in zip(*items, strict=True)])
    theirs = krippendorff_alpha([list(row) for row in zip(*shuffled, strict=True)])
    assert ours == pytest.approx(theirs, nan_ok=True)
    assert math.isnan(ours) or ours <= 1


@given(st.lists(LABELS, min_size=2))
def test_full_agreement_is_one(labels: list[str]) -> None:
    if len(set(labels)) > 1:
        assert cohen_kappa(labels, labels) == pytest.approx(1)
        assert krippendorff_alpha([labels, labels]) == pytest.approx(1)
        assert kappa_measure(labels, labels).high == pytest.approx(1)


def test_intervals_hold_the_value_and_are_the_same_again() -> None:
    measured = kappa_measure(*pairs(COHEN))
    assert measured == kappa_measure(*pairs(COHEN))
    assert measured.low < 0.492 < measured.high
    # Large-sample standard error sqrt(p_o (1 - p_o) / (N (1 - p_e)**2)) = 0.0549, Cohen's equation 7
    assert measured.high - measured.low == pytest.approx(2 * 1.96 * 0.0549, rel=0.1)
    alpha = alpha_measure(ratings(KRIPPENDORFF))
    assert alpha.low < 0.743 < alpha.high <= 1
    assert alpha.num_items == 11


def test_wilsons_interval_by_hand() -> None:
    # 8 of 10 at z = 1.96: centre (0.8 + 0.19208) / 1.38416 = 0.71674, half 0.22659
    measured = share_measure(8, 10)
    assert (measured.value, round(measured.low, 3), round(measured.high, 3)) == (0.8, 0.490, 0.943)
    assert share_measure(5, 5).high == 1
    assert share_measure(5, 5).low > 0.5
    assert math.isnan(share_measure(0, 0).value)
