"""The kit against strategies broken on purpose: each is told what is wrong with it, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from apl_bench.checks import check_strategy
from apl_bench.checks.toys import alike, different, flat_and_peaked
from apl_bench.pool import CandidatePool, PromptPool
from apl_bench.protocols import Strategy
from apl_bench.selection import best, bottom, uniform
from apl_bench.strategies.certainty import Certainty
from apl_bench.strategies.entropy import Entropy
from apl_bench.strategies.uniform import Random
from apl_bench.types import Acquisition, PairIndex
from tests.checks import codes
from tests.fakes import FakeOracle

Rng = np.random.Generator


def broken(select: Callable[[CandidatePool, int, Rng], Acquisition], **attributes: Any) -> Strategy:
    """A strategy with this select."""

    def method(_self: Strategy, pool: CandidatePool, num_pairs: int, rng: Rng) -> Acquisition:
        return select(pool, num_pairs, rng)

    members = {"__module__": __name__, "summary": "broken on purpose", "select": method, **attributes}
    strategy: Strategy = type("Broken", (Strategy,), members)()
    return strategy


def by_size(score: Callable[[CandidatePool], np.ndarray]) -> Callable[[CandidatePool, int, Rng], Acquisition]:
    return lambda pool, num_pairs, rng: best(pool.all_pairs, score(pool), num_pairs, rng)


def sizes(pool: CandidatePool) -> np.ndarray:
    return np.asarray(np.abs(pool.margin(pool.all_pairs)))


def changed(change: Callable[[tuple[PairIndex, ...]], tuple[PairIndex, ...]]) -> Strategy:
    """Certainty with its pairs changed afterwards."""

    def select(pool: CandidatePool, num_pairs: int, rng: Rng) -> Acquisition:
        acquisition = Certainty().select(pool, num_pairs, rng)
        return Acquisition(change(acquisition.pairs))

    return broken(select)


def rescored(change: Callable[[tuple[float, ...]], tuple[float, ...]]) -> Strategy:
    """Certainty with its scores changed afterwards."""

    def select(pool: CandidatePool, num_pairs: int, rng: Rng) -> Acquisition:
        acquisition = Certainty().select(pool, num_pairs, rng)
        return replace(acquisition, scores=change(acquisition.scores))

    return broken(select)


def raising(pool: CandidatePool, num_pairs: int, rng: Rng) -> Acquisition:
    scores = sizes(pool)
    return best(pool.all_pairs, scores / scores.sum() if scores.sum() else np.full(len(pool), np.nan), num_pairs, rng)


def unseeded_order(pool: CandidatePool, num_pairs: int, rng: Rng) -> Acquisition:
    scores = sizes(pool)
    order = np.argsort(-scores, kind="stable")[:num_pairs].tolist()
    return Acquisition(tuple(pool.all_pairs[row] for row in order), tuple(pool.all_pairs), tuple(scores.tolist()))


def unseeded_ranks(pool: CandidatePool) -> np.ndarray:
    return np.argsort(np.argsort(sizes(pool), kind="stable")).astype(float)


def drawn_first(pool: CandidatePool, num_pairs: int, rng: Rng) -> Acquisition:
    rows = sorted(pool.drawn)[:num_pairs] or uniform(len(pool), num_pairs, rng).tolist()
    return Acquisition(tuple(PairIndex(row, 0, 1) for row in rows))


def drawing_all(pool: CandidatePool, num_pairs: int, rng: Rng) -> Acquisition:
    assert pool.completions_SK
    return Random().select(pool, num_pairs, rng)


class Counting(Certainty):
    """Turns into uncertainty at its second step."""

    num_steps = 0

    def select(self, pool: CandidatePool, num_pairs: int, rng: Rng) -> Acquisition:
        self.num_steps += 1
        sign = 1.0 if self.num_steps == 1 else -1.0
        return best(pool.all_pairs, sign * sizes(pool), num_pairs, rng)


class Shortlisting(Random):
    """Random, with a shortlist to be broken."""

    oversample: int | None = 3

    def shortlist(self, prompts: PromptPool, keep: int, rng: Rng) -> Sequence[int]:
        return uniform(len(prompts), keep, rng).tolist()  # type: ignore[no-any-return]


class ShortlistNothing(Random):
    """Takes a parameter, as a factory has to give it one."""

    def __init__(self, oversample: int) -> None:
        self.oversample = oversample


class ShortlistTooShort(Shortlisting):
    def shortlist(self, prompts: PromptPool, keep: int, rng: Rng) -> Sequence[int]:
        return super().shortlist(prompts, keep - 1, rng)


class ShortlistTwice(Shortlisting):
    def shortlist(self, prompts: PromptPool, keep: int, rng: Rng) -> Sequence[int]:
        rows = super().shortlist(prompts, keep, rng)
        return [*rows[:-1], rows[0]]


class ShortlistFirst(Shortlisting):
    def shortlist(self, prompts: PromptPool, keep: int, rng: Rng) -> Sequence[int]:
        return range(keep)


class ShortlistPeaked(Shortlisting):
    def shortlist(self, prompts: PromptPool, keep: int, rng: Rng) -> Sequence[int]:
        return bottom(prompts.entropy_S, keep, rng).tolist()  # type: ignore[no-any-return]


class Peeking(Random):
    def __init__(self) -> None:
        self.oracle = FakeOracle()


def peaked(pool: CandidatePool, num_pairs: int, rng: Rng) -> Acquisition:
    pairs = [PairIndex(row, 0, 1) for row in range(len(pool))]
    return best(pairs, -pool.entropy_S, num_pairs, rng)


def row_weighted(pool: CandidatePool) -> np.ndarray:
    return sizes(pool) * (1 + np.arange(len(pool)))


BROKEN_STRATEGIES: list[tuple[str, Strategy | type[Strategy]]] = [
    ("raises", broken(raising)),
    ("declaration", broken(by_size(sizes), num_completions=1)),
    ("declaration", broken(by_size(sizes), samples_from="theta_0")),
    ("declaration", broken(by_size(sizes), oversample=0)),
    ("declaration", broken(by_size(sizes), summary="")),
    ("peeks", Peeking),
    ("types", changed(lambda pairs: tuple(PairIndex(*map(np.int64, pair)) for pair in pairs))),  # type: ignore[arg-type]
    ("types", rescored(lambda scores: tuple(map(np.float32, scores)))),  # type: ignore[arg-type]
    ("budget", changed(lambda pairs: pairs[1:])),
    ("budget", broken(lambda pool, num_pairs, rng: Random().select(pool, min(num_pairs + 1, len(pool)), rng))),
    ("range", changed(lambda pairs: (*pairs[1:], PairIndex(32, 0, 1)))),
    ("range", changed(lambda pairs: (*pairs[1:], PairIndex(-1, 0, 1)))),
    ("range", changed(lambda pairs: (*pairs[1:], pairs[0]._replace(second=2)))),
    ("self-pair", changed(lambda pairs: (*pairs[1:], pairs[0]._replace(second=0)))),
    ("duplicates", changed(lambda pairs: (*pairs[:-1], pairs[0]._replace(first=1, second=0)))),
    ("scores-length", rescored(lambda scores: scores[1:])),
    ("scores-finite", rescored(lambda scores: (*scores[1:], math.nan))),
    ("scores-order", rescored(lambda scores: tuple(-score for score in scores))),
    ("shortlist", ShortlistTooShort),
    ("shortlist", ShortlistTwice),
    ("determinism", broken(lambda pool, num_pairs, rng: Random().select(pool, num_pairs, np.random.default_rng()))),
    ("state", Counting),
    ("cache", broken(drawn_first)),
    ("waste", broken(drawing_all)),
    ("ties", broken(unseeded_order)),
    ("ties", broken(by_size(unseeded_ranks))),
    ("ties", ShortlistFirst),
    ("permutation", broken(by_size(row_weighted))),
    ("swap", broken(by_size(lambda pool: pool.margin(pool.all_pairs)))),
    ("entropy-sign", broken(peaked)),
    ("entropy-sign", ShortlistPeaked),
]


@pytest.mark.parametrize(("code", "strategy"), BROKEN_STRATEGIES, ids=lambda value: value if type(value) is str else "")
def test_a_broken_strategy_is_told_what_is_wrong_and_nothing_else(
    code: str, strategy: Strategy | type[Strategy]
) -> None:
    assert codes(check_strategy(strategy)) == [code]


@pytest.mark.parametrize("strategy", [Shortlisting, Certainty, Entropy(), partial(ShortlistNothing, 1)])
def test_a_class_an_instance_or_a_factory_that_conforms(strategy: Any) -> None:
    assert check_strategy(strategy) == []


def test_an_instance_is_left_as_it_was() -> None:
    strategy = Counting()
    check_strategy(strategy)
    assert strategy.num_steps == 0


def test_three_completions_a_prompt_are_checked_as_two_are() -> None:
    assert check_strategy(broken(by_size(sizes), num_completions=3)) == []
    signed = broken(by_size(lambda pool: pool.margin(pool.all_pairs)), num_completions=3)
    assert codes(check_strategy(signed)) == ["swap"]


def test_a_module_that_imports_an_oracle_peeks(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("apl_bench.oracles.made_up")
    monkeypatch.setitem(globals(), "made_up", module)
    (finding,) = check_strategy(broken(by_size(sizes)))
    assert (finding.code, "'made_up'" in finding.sentence) == ("peeks", True)


def test_a_finding_says_what_was_seen_and_what_to_do() -> None:
    (finding,) = check_strategy(broken(lambda pool, num_pairs, rng: Random().select(pool, num_pairs - 1, rng)))
    assert finding.sentence == "selected 7 pairs where 8 labels of 32 prompts were to be spent"
    assert finding.remedy == "return exactly num_pairs pairs; selection.top does"


def test_the_scenes_are_what_they_say() -> None:
    pool = different(96).pool(Certainty())
    assert len(np.unique(sizes(pool))) == len(np.unique(pool.entropy_S)) == 96
    same = alike(8).pool(Certainty())
    assert set(sizes(same)) == {0.0}
    assert len(set(same.entropy_S.tolist())) == len({text for row in same.completions_SK for text in row}) == 1
    flat = flat_and_peaked(8).pool(Certainty()).entropy_S
    np.testing.assert_allclose(flat[::2], 11, atol=0.5)
    assert flat[1::2].mean() < 1
