"""Which of the paper's differences hold up: by hand, and what the published numbers allow at the most."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from apl_bench.cli.main import main
from apl_bench.paper.holding import Finding, findings
from apl_bench.paper.published import Cell, table


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str, int], Finding]:
    differences = table().differences
    return {
        (one.published.task, one.published.strategy, one.published.num_labels): one for one in findings(differences)
    }


def test_every_number_of_table_2_is_there() -> None:
    differences = table().differences
    assert len(differences) == 24
    assert {one.task for one in differences} == {"imdb", "tldr"}
    assert all(one.ours.num_seeds == (6 if one.strategy == "entropy" else 9) for one in differences)
    (cell,) = (
        one.ours for one in differences if (one.task, one.strategy, one.num_labels) == ("tldr", "certainty", 512)
    )
    assert (cell.mean, cell.se_seeds) == (0.6004, 0.0090)


def test_welch_by_hand(found: dict[tuple[str, str, int], Finding]) -> None:
    # .8162 - .7605 = .0557; variances .0048^2 = 2.304e-5 and .0089^2 = 7.921e-5: sum 1.0225e-4, root .010112; t 5.508;
    # df = 1.0225e-4^2 / ((2.304e-5^2 + 7.921e-5^2) / 8) = 12.29
    test = found["imdb", "certainty", 256].these_prompts
    assert found["imdb", "certainty", 256].difference == pytest.approx(0.0557)
    assert test.error == pytest.approx(0.010112, abs=1e-6)
    assert test.df == pytest.approx(12.29, abs=0.01)
    assert test.p == pytest.approx(2 * stats.t.sf(0.0557 / test.error, test.df))
    low, high = test.interval
    assert (low + high) / 2 == pytest.approx(0.0557)


def test_welch_agrees_with_scipy_on_samples_of_these_moments(found: dict[tuple[str, str, int], Finding]) -> None:
    """Nine numbers with exactly the printed mean and standard error, against as many of random's."""
    one = found["tldr", "entropy+certainty", 384]
    samples = [
        cell.mean + cell.se_seeds * 3 * stats.zscore(np.arange(9), ddof=1)
        for cell in (one.published.ours, one.published.baseline)
    ]
    assert stats.ttest_ind(*samples, equal_var=False).pvalue == pytest.approx(one.these_prompts.p)


def test_what_holds(found: dict[tuple[str, str, int], Finding]) -> None:
    """IMDB's certainty from 256 labels on, on these prompts; nothing of it in TLDR after Holm's correction."""
    certainty = {key[::2]: one for key, one in found.items() if key[1] == "certainty"}
    assert [certainty["imdb", num].verdict for num in (128, 256, 512, 768)] == ["not shown", *["on these prompts"] * 3]
    assert [certainty["tldr", num].verdict for num in (128, 256, 384, 512)] == ["not shown"] * 2 + [
        "not after Holm"
    ] * 2


def test_a_share_of_the_prompts_never_makes_a_difference_more_certain(
    found: dict[tuple[str, str, int], Finding],
) -> None:
    for one in found.values():
        assert one.any_prompts.error > one.these_prompts.error
        assert one.any_prompts.p_task >= one.these_prompts.p_task - 1e-12
        assert (one.holds_to is not None) == (one.these_prompts.p_task <= 0.05)
        assert one.these_prompts.p <= one.these_prompts.p_task <= one.these_prompts.p_all


def test_the_smallest_two_way_error_that_a_printed_one_allows() -> None:
    """Half the prompts are always won and half never: all seeds say 1/2 exactly, SE 0, and the luck of which prompts
    were drawn is sqrt(1/4 / P) all the same."""
    assert Cell(0.5, 0.0, 9, 100).smallest_two_way == pytest.approx(0.05)
    # no prompt is easier than another, seeds alike: SE is the floor, and there is nothing to add
    floor = math.sqrt(0.25 / 900)
    assert Cell(0.5, floor, 9, 100).floor == pytest.approx(floor)
    assert Cell(0.5, floor, 9, 100).smallest_two_way == pytest.approx(floor)


def test_the_command_says_it_in_words_and_as_json() -> None:
    done = CliRunner().invoke(main, ["paper", "--task", "imdb"])
    assert done.exit_code == 0
    assert "tldr" not in done.stdout
    assert "Of 12 differences: 0 holds up, 6 on these prompts, 0 not after Holm, 6 not shown." in done.stdout
    assert "imdb, certainty at 128: SE 0.0031, floor 0.0049" in done.stdout
    content = json.loads(CliRunner().invoke(main, ["paper", "--json"]).stdout)
    assert content["schema"] == "apl-paper/1"
    assert len(content["findings"]) == 24
