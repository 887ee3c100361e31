"""The recipe of the summary oracle: it makes what ships, and measures what the documents say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apl_bench.oracles import summary as module
from apl_bench.oracles.summary import MODELS

recipe = pytest.importorskip("recipes.summary", reason="the recipes are not beside these tests")

VERDICTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "tldr.jsonl.gz"
needs_verdicts = pytest.mark.skipif(not VERDICTS.is_file(), reason="the verdicts of GPT-4 are not on this machine")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [row for row in recipe.read(VERDICTS) if row.get("gpt_preferred")]


@needs_verdicts
def test_it_makes_what_ships_byte_for_byte(rows: list[dict[str, Any]]) -> None:
    shipped = (Path(module.__file__).parent / "data" / "summary.json").read_text(encoding="utf-8")
    assert json.dumps(recipe.table(rows), indent=1) + "\n" == shipped


@needs_verdicts
@pytest.mark.parametrize("model", MODELS)
def test_the_documents_say_what_it_measures(rows: list[dict[str, Any]], model: str) -> None:
    card = (Path(module.__file__).parent / "data" / "README.md").read_text(encoding="utf-8")
    measured = recipe.measure(rows, model)
    low, high = measured["interval"]
    agrees = f"{100 * measured['cross_validated']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    longer = measured["over_longer"]
    low, high = longer["bootstrap"]
    over = f"{100 * longer['difference']:+.1f} ({100 * low:.1f} to {100 * high:.1f}"
    test = f"{longer['mcnemar']['only_the_score']}, {longer['mcnemar']['only_the_rule']} (p = "
    gain = "{:.3f} ({:.3f} to {:.3f})".format(*measured["log_score_over_length_alone"])
    for figure in (agrees, over, test, gain):
        assert figure in card
        assert figure in str(module.__doc__)


def test_mcnemar_by_hand() -> None:
    """Right where the rule is wrong: 3; the other way: 1; p = 2 * (1 + 4) / 16. A half is no disagreement."""
    met = recipe.mcnemar(np.array([1, 1, 1, 0, 1, 0.5]), np.array([0, 0, 0, 1, 1, 1]))
    assert met == {"only_the_score": 3, "only_the_rule": 1, "p": 0.625}


def test_the_log_score_is_that_of_what_was_preferred() -> None:
    """log 3/4 for odds of 3 to 1 on the model's, log 1/4 where the person's was preferred; means over repetitions."""
    score_RV = np.array([[math.log(3), math.log(3)], [math.log(3), 0.0]])
    expected = [math.log(3 / 4), (math.log(1 / 4) + math.log(1 / 2)) / 2]
    assert recipe.log_score(score_RV, np.array([True, False])) == pytest.approx(expected)


def test_a_heavier_ridge_shrinks_and_nothing_goes_below_zero() -> None:
    rng = np.random.default_rng(0)
    measures = rng.normal(size=(200, 3))
    won = measures @ np.array([1.0, 1.0, -1.0]) > 0
    light, heavy = (
        recipe.fit(recipe.Verdicts(measures, np.zeros(200), won, np.array([1.0, ridge, 1.0]))) for ridge in (1.0, 100.0)
    )
    assert light[2] == heavy[2] == 0
    assert 0 < heavy[1] < light[1] / 2
    assert heavy[0] > 0
