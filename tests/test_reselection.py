"""Selection again, by the documented rule: golden values by hand, and every rule against the strategy itself."""

from __future__ import annotations

from typing import Any

import pytest

from apl_bench.presets import Changes, resolve
from apl_bench.randomness import stream
from apl_bench.registry import STRATEGIES
from apl_bench.reselection import is_checked, selection_faults
from tests.fakes import table_pool

REWARDS = [[0.0, 1.5], [0.0, -0.5], [2.0, 2.0], [0.25, 0.0], [0.0, 1.0], [0.0, 1.0]]


def step_rows(name: str, num: int = 3) -> list[dict[str, Any]]:
    """The rows that a step of the strategy itself would record, on six prompts."""
    pool = table_pool(REWARDS, entropy_S=[0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    rng = stream(0, "strategy", 1)
    strategy = STRATEGIES.create(name, {})
    kept = strategy.shortlist(pool, len(pool), rng)
    candidates = pool.candidates(kept)
    acquisition = strategy.select(candidates, num, rng)
    margins = candidates.margin(acquisition.pairs).tolist()
    scores: dict[int, list[list[float]]] = {}
    for pair, score in zip(acquisition.scored, acquisition.scores, strict=True):
        scores.setdefault(pair.prompt, []).append([pair.first, pair.second, score])
    head = {"kind": "step", "step": 1, "num_drawn": len(pool), "num_candidates": len(candidates)}
    rows = [{"kind": "candidate", "row": row, "scores": scores.get(row, [])} for row in range(len(candidates))]
    labels = [{"kind": "label", "row": pair.prompt, "first": pair.first, "second": pair.second, "margin": margin}
              for pair, margin in zip(acquisition.pairs, margins, strict=True)]  # fmt: skip
    return [head, *rows, *labels]


@pytest.mark.parametrize("name", sorted(STRATEGIES._builtins))
def test_every_built_in_strategy_is_selected_again_to_the_last_tie(name: str) -> None:
    spec = resolve("imdb", "lite", name, Changes(), 0)
    for num in (1, 3, 6):
        assert selection_faults(spec, step_rows(name, num), is_built_in=True) == []


@pytest.mark.parametrize("name", sorted(STRATEGIES._builtins))
def test_two_labels_that_changed_places_are_found(name: str) -> None:
    spec, rows = resolve("imdb", "lite", name, Changes(), 0), step_rows(name)
    rows[-1], rows[-2] = rows[-2], rows[-1]
    (fault,) = selection_faults(spec, rows, is_built_in=True)
    assert fault.startswith("2 of 3 labels are not those")


def test_another_strategy_may_break_ties_as_it_likes_and_not_leave_the_best() -> None:
    spec = resolve("imdb", "lite", "certainty", Changes(), 0)
    rows = [{"kind": "step", "step": 1}, *({"kind": "candidate", "row": row, "scores": [[0, 1, score]]}
            for row, score in enumerate([3.0, 1.0, 1.0, 2.0]))]  # fmt: skip

    def faults(*bought: int) -> list[str]:
        labels = [{"kind": "label", "row": row, "first": 0, "second": 1, "margin": 0.0} for row in bought]
        return selection_faults(spec, [*rows, *labels], is_built_in=False)

    assert faults(0, 3, 1) == faults(0, 3, 2) == []
    assert faults(3, 0, 1) == ["labels do not stand in the order of their recorded scores, best first"]
    assert faults(0, 2) == ["a pair of score 2.0 was left, and one of 1.0 was bought"]


def test_scores_that_do_not_follow_from_margins() -> None:
    spec, rows = resolve("imdb", "lite", "certainty", Changes(), 0), step_rows("certainty")
    rows[-1]["margin"] += 1
    (fault,) = selection_faults(spec, rows, is_built_in=True)
    assert "and its margin is" in fault


def test_without_scores_another_strategy_is_not_checked() -> None:
    rows = [row | {"scores": []} if row["kind"] == "candidate" else row for row in step_rows("certainty")]
    assert not is_checked(rows, is_built_in=False)
    assert is_checked(rows, is_built_in=True)
    assert selection_faults(resolve("imdb", "lite", "certainty", Changes(), 0), rows, is_built_in=True) == [
        "certainty recorded no scores"
    ]
