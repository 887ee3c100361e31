"""Did a recorded step buy what its recorded scores say? Selection again, by the documented rule and tie-break.

The generator of a step is that of the stream (seed, "strategy", step). Each rule draws one permutation; what a built-in
strategy draws before it is known here, so that its selection is repeated to the last tie. Of another strategy that
recorded scores the labels must be the best by them, equal scores in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from apl_bench.randomness import stream
from apl_bench.selection import top, uniform
from apl_bench.spec import RunSpec

Rows = Sequence[Mapping[str, Any]]

UNSCORED = ("random", "offline")
# How many rows each permutation has that a built-in strategy draws before its last one: (step's head) -> sizes.
_DRAWN_BEFORE: Mapping[str, Callable[[Mapping[str, Any]], tuple[int, ...]]] = {
    "certainty": lambda _head: (),
    "uncertainty": lambda _head: (),
    "entropy": lambda _head: (),
    "entropy+certainty": lambda head: (head["num_drawn"],),
    "mid": lambda head: (head["num_candidates"],),
    "tails": lambda head: (head["num_candidates"],),
}
# The recorded score of a pair, from its recorded margin.
_SCORE_OF_MARGIN: Mapping[str, Callable[[float], float]] = {
    "certainty": abs,
    "entropy+certainty": abs,
    "uncertainty": lambda margin: -abs(margin),
}


def selection_faults(spec: RunSpec, rows: Rows, is_built_in: bool) -> list[str]:
    """What a step bought that its scores do not say, one sentence each; `rows` are those of the step's file.

    `is_built_in`: the strategy of this name is the one that ships, whose draws are known.
    """
    labels = [row for row in rows if row["kind"] == "label"]
    bought = [(row["row"], row["first"], row["second"]) for row in labels]
    scores: dict[tuple[int, ...], float] = {
        (row["row"], first, second): score
        for row in rows
        if row["kind"] == "candidate"
        for first, second, score in row["scores"]
    }
    name, head = spec.strategy.name, rows[0]
    rng = stream(spec.seed, "strategy", head["step"])
    if is_built_in and name in UNSCORED:
        expected = [(row, 0, 1) for row in uniform(head["num_candidates"], len(labels), rng).tolist()]
        return list(_differences(bought, expected))
    if not scores:
        return [f"{name} recorded no scores"] if is_built_in else []
    if is_built_in and name in _DRAWN_BEFORE:
        for size in _DRAWN_BEFORE[name](head):
            rng.permutation(size)
        pairs = list(scores)
        order = top(np.array(list(scores.values())), min(len(labels), len(pairs)), rng).tolist()
        return [*_differences(bought, [pairs[place] for place in order]), *_wrong_scores(name, labels, scores)]
    return list(_not_best(bought, scores))


def is_checked(rows: Rows, is_built_in: bool) -> bool:
    """Whether anything can be said of a step's selection: another strategy without scores may buy what it likes."""
    return is_built_in or any(row["scores"] for row in rows if row["kind"] == "candidate")


def _differences(bought: Sequence[tuple[int, ...]], expected: Sequence[tuple[int, ...]]) -> Iterator[str]:
    if len(bought) != len(expected):
        yield f"{len(bought)} pairs were bought where the rule gives {len(expected)}"
        return
    wrong = [rank for rank, (ours, theirs) in enumerate(zip(bought, expected, strict=True)) if ours != theirs]
    if wrong:
        rank = wrong[0]
        yield (f"{len(wrong)} of {len(bought)} labels are not those that the recorded scores and the tie-break give: "
               f"at rank {rank} stands the pair {bought[rank]}, expected {expected[rank]}")  # fmt: skip


def _wrong_scores(name: str, labels: Rows, scores: Mapping[tuple[int, ...], float]) -> Iterator[str]:
    """Scores of bought pairs that do not follow from their margins."""
    of_margin = _SCORE_OF_MARGIN.get(name)
    for label in labels if of_margin else ():
        pair = (label["row"], label["first"], label["second"])
        assert of_margin is not None
        if scores.get(pair) != of_margin(label["margin"]):
            yield f"the pair {pair} has the score {scores.get(pair)!r}, and its margin is {label['margin']!r}"
            return


def _not_best(bought: Sequence[tuple[int, ...]], scores: Mapping[tuple[int, ...], float]) -> Iterator[str]:
    missing = [pair for pair in bought if pair not in scores]
    if missing:
        yield f"the pair {missing[0]} was bought and has no recorded score"
        return
    values, left = [scores[pair] for pair in bought], scores.keys() - set(bought)
    if any(later > earlier for earlier, later in pairwise(values)):
        yield "labels do not stand in the order of their recorded scores, best first"
    best = max((scores[pair] for pair in left), default=None)
    if values and best is not None and best > min(values):
        yield f"a pair of score {best!r} was left, and one of {min(values)!r} was bought"
