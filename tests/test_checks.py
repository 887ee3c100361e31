"""The conformance kit against plugins broken on purpose: each is told what is wrong with it, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from apl_bench.checks import Finding, check_oracle, check_strategy, check_task
from apl_bench.checks.toys import alike, different, flat_and_peaked
from apl_bench.pool import CandidatePool, PromptPool
from apl_bench.protocols import Oracle, Split, Strategy, Task, Tokenizer
from apl_bench.registry import ORACLES
from apl_bench.selection import best, bottom, uniform
from apl_bench.strategies.certainty import Certainty
from apl_bench.strategies.entropy import Entropy
from apl_bench.strategies.uniform import Random
from apl_bench.types import JSON, Acquisition, Comparison, LengthBounds, PairIndex, Prompt, Reading, Reply, Verdict
from tests.fakes import FakeOracle, FakeTask

Rng = np.random.Generator


def codes(findings: Sequence[Finding]) -> list[str]:
    return [finding.code for finding in findings]


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


class NoPosition(FakeOracle):
    """Always likes what stands first."""

    def _reply(self, comparison: Comparison) -> Reply:
        return Reply("1", model="")


class Moody(FakeOracle):
    """Finds everything alike every second time it is asked."""

    num_asked = 0

    def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
        self.num_asked += 1
        return super().ask(comparisons) if self.num_asked % 2 else [Reply("=", model="") for _ in comparisons]


class BatchDependent(FakeOracle):
    def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
        return [Reply("1" if len(comparisons) == 1 else "=", model="") for _ in comparisons]


class OneReply(FakeOracle):
    def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
        return super().ask(comparisons)[:1]


class Illegible(FakeOracle):
    def _reply(self, comparison: Comparison) -> Reply:
        return Reply("first", model="")


class Certain(FakeOracle):
    def read(self, reply: Reply) -> Reading:
        return replace(super().read(reply), p_first=1.5)


class Coin(FakeOracle):
    """An unreadable reply becomes a tie: "Where public code goes wrong", 4."""

    def read(self, reply: Reply) -> Reading:
        reading = super().read(reply)
        return Reading(Verdict.TIE) if reading.verdict is Verdict.INVALID else reading


class Strict(FakeOracle):
    def read(self, reply: Reply) -> Reading:
        return Reading({"1": Verdict.FIRST, "2": Verdict.SECOND, "=": Verdict.TIE}[reply.raw])


class RequestedAs(FakeOracle):
    """Its request changed afterwards."""

    def __init__(self, change: Callable[[dict[str, Any], Comparison], dict[str, Any]]) -> None:
        self._change = change

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        return self._change(dict(super().request(comparison)), comparison)


def in_pair_order(request: dict[str, Any], comparison: Comparison) -> dict[str, Any]:
    pair = comparison.pair
    return {**request, "texts": [pair.prompt.text, pair.first.text, pair.second.text]}


BROKEN_ORACLES: list[tuple[str, Oracle]] = [
    ("declaration", type("Unsaid", (FakeOracle,), {"summary": ""})()),
    ("declaration", type("Unsaid", (FakeOracle,), {"local": None})()),
    ("raises", RequestedAs(lambda request, _: request["no such field"])),
    ("request-json", RequestedAs(lambda request, _: {**request, "temperature": math.nan})),
    ("request-json", RequestedAs(lambda request, _: {**request, "seen": {1, 2}})),
    ("request-stable", RequestedAs(lambda request, _: {**request, "now": str(np.random.default_rng().random())})),
    ("request-texts", RequestedAs(lambda request, _: {**request, "texts": request["texts"][1:]})),
    ("request-order", RequestedAs(in_pair_order)),
    ("request-repeat", RequestedAs(lambda request, _: {**request, "repeat": 0})),
    ("read-raises", Strict()),
    ("read-garbage", Coin()),
    ("ask-count", OneReply()),
    ("ask-read", Illegible()),
    ("p-first", Certain()),
    ("determinism", Moody()),
    ("batch", BatchDependent()),
    ("swap", NoPosition()),
]


@pytest.mark.parametrize(("code", "oracle"), BROKEN_ORACLES, ids=lambda value: value if type(value) is str else "")
def test_a_broken_oracle_is_told_what_is_wrong_and_nothing_else(code: str, oracle: Oracle) -> None:
    assert codes(check_oracle(oracle)) == [code]


def test_an_oracle_that_conforms() -> None:
    assert check_oracle(FakeOracle) == []


def test_an_oracle_that_may_cost_is_never_asked() -> None:
    class Paid(FakeOracle):
        local = False

        def ask(self, comparisons: Sequence[Comparison]) -> Sequence[Reply]:
            raise AssertionError("asked")

    assert check_oracle(Paid()) == []


@pytest.mark.parametrize("model", ["oracle", "judge"])
def test_the_shipped_oracles_conform(model: str) -> None:
    assert check_oracle(ORACLES.create("classifier", {"model": model})) == []


class Shown(FakeTask):
    """Its prompts changed afterwards."""

    def __init__(self, change: Callable[[Split, list[Prompt]], Sequence[Prompt]]) -> None:
        self._change = change

    def prompts(self, split: Split, tokenizer: Tokenizer) -> Sequence[Prompt]:
        return self._change(split, list(super().prompts(split, tokenizer)))


class HumanOpponent(Shown):
    opponent = "human"


class Reordered(FakeTask):
    """In another order at each call."""

    num_calls = 0

    def prompts(self, split: Split, tokenizer: Tokenizer) -> Sequence[Prompt]:
        self.num_calls += 1
        prompts = super().prompts(split, tokenizer)
        return [*prompts[self.num_calls % 5 :], *prompts[: self.num_calls % 5]]


def with_bounds(bounds: Callable[[Prompt], LengthBounds]) -> Task:
    task: Task = type("Bounded", (FakeTask,), {"bounds": lambda _self, prompt: bounds(prompt)})()
    return task


def with_attributes(**attributes: Any) -> Task:
    task: Task = type("Changed", (FakeTask,), attributes)()
    return task


def overlapping(split: Split, prompts: list[Prompt]) -> list[Prompt]:
    return [*prompts, Prompt("film-99", "Film 3 was")] if split == "test" else prompts


BROKEN_TASKS: list[tuple[str, Task]] = [
    ("declaration", with_attributes(summary="")),
    ("declaration", with_attributes(template="")),
    ("declaration", with_attributes(opponent="theta_0")),
    ("identity", with_attributes(identity=lambda _self: {"size": math.inf})),
    ("raises", Shown(lambda _, prompts: [prompts[99]])),
    ("empty", Shown(lambda split, prompts: [] if split == "test" else prompts)),
    ("empty", Shown(lambda _, prompts: [replace(prompts[0], text=" "), *prompts[1:]])),
    ("ids", Shown(lambda split, prompts: [*prompts, replace(prompts[0], text=f"Another of {split}")])),
    ("overlap", Shown(overlapping)),
    ("bounds", with_bounds(lambda _: LengthBounds(0, 4))),
    ("bounds", with_bounds(lambda _: LengthBounds(5, 4))),
    ("bounds", with_bounds(lambda _: LengthBounds(1, int(np.random.default_rng().integers(1, 2**60))))),
    ("order", Reordered()),
    ("human", HumanOpponent(lambda _, prompts: [replace(prompts[0], human_completion=None), *prompts[1:]])),
]


@pytest.mark.parametrize(("code", "task"), BROKEN_TASKS, ids=lambda value: value if type(value) is str else "")
def test_a_broken_task_is_told_what_is_wrong_and_nothing_else(code: str, task: Task) -> None:
    assert codes(check_task(task)) == [code]


def test_a_task_that_conforms() -> None:
    assert check_task(FakeTask) == []
