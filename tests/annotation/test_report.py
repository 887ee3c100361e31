"""What a queue says of its annotators, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apl_bench.annotation.report import report, rows, to_json
from tests.annotation.queues import check_of, item, queue_of


def test_agreement_with_others_and_with_oneself(tmp_path: Path) -> None:
    items = [item(number) for number in range(4)]
    repeat, swap, other_swap = check_of(items[0], "repeat"), check_of(items[1], "swap"), check_of(items[2], "swap")
    queue = queue_of(tmp_path, [*items, repeat, swap, other_swap])
    said = {
        "ann": {items[0]: "A", items[1]: "A", items[2]: "T", items[3]: "S", repeat: "B", swap: "B", other_swap: "T"},
        "bob": {items[0]: "A", items[1]: "B", items[2]: "T", items[3]: "B", swap: "S"},
    }
    for name, answers in said.items():
        for one, verdict in answers.items():
            queue.submit(one.id, verdict, name, "2026-11-21T12:00:00.000Z", "test/1")
    found = report(queue.refresh())

    (two,) = found.pairs
    # Items 0 to 2, AA AB TT: p_o = 2/3; p_e = 2/3 * 1/3 + 0 * 1/3 + 1/3 * 1/3 = 1/3; kappa = 1/2
    assert [two.kappa.value, two.kappa.num_items] == pytest.approx([1 / 2, 3])
    assert [two.same.value, two.same.num_items] == pytest.approx([2 / 3, 3])
    # alpha: D_o = 2 / 6; n = A 3, B 1, T 2: D_e = (36 - 9 - 1 - 4) / (6 * 5) = 22 / 30; 1 - (1/3) / (11/15) = 6 / 11
    assert [found.alpha.value, found.alpha.num_items] == pytest.approx([6 / 11, 3])
    assert (found.repeats.value, found.repeats.num_items) == (0, 1)  # A, then B
    assert (found.swaps.value, found.swaps.num_items) == (1, 2)  # A, then B swapped; T, then T; bob's skip is none
    ann = found.annotators[0]
    assert (ann.name, ann.verdicts) == ("ann", {"A": 2, "B": 2, "T": 2, "S": 1})
    assert (ann.first.value, ann.first.num_items) == (0.5, 4)
    assert ann.seconds


def test_a_report_of_nothing_has_no_numbers_and_says_so(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(1)])
    queue.submit(item(1).id, "A", "ann", None, "test/1")
    found = report(queue.refresh())
    assert json.loads(to_json(found))["alpha"] == {"value": None, "low": None, "high": None, "num_items": 0}
    assert ("alpha (Krippendorff)", "all", "", "", "", "0") in list(rows(found))
    assert found.annotators[0].seconds is None
