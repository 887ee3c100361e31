"""check_strategy: does an acquisition function spend the labels it is given, on what it says, whatever the order?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TypeAlias

from apl_bench.checks.findings import fresh, run_stages
from apl_bench.checks.toys import Scene, alike, different, flat_and_peaked
from apl_bench.contract import Finding, Room, acquisition_faults, shortlist_faults
from apl_bench.pool import CandidatePool, PromptPool
from apl_bench.protocols import Oracle, Strategy
from apl_bench.randomness import stream
from apl_bench.types import Acquisition

Make: TypeAlias = Callable[[], Strategy]
Chosen: TypeAlias = list[tuple[str, int, int]]

NUM_PROMPTS = 32
NUM_PAIRS = 8
PRESET_OVERSAMPLE = 3  # what a preset might say, for a strategy that leaves it to the preset
NUM_SEEDS = 4
_LABELLERS = ("apl_bench.oracles", "apl_bench.judging", "apl_bench.judgments")


def check_strategy(strategy: Strategy | Callable[[], Strategy]) -> list[Finding]:
    """What is wrong with a strategy (an instance, a class without parameters, or a factory); nothing if it conforms."""
    return run_stages(fresh(strategy), _STAGES)


def _select(strategy: Strategy, pool: CandidatePool, seed: int = 0, num_pairs: int = NUM_PAIRS) -> Acquisition:
    return strategy.select(pool, num_pairs, stream("check", seed))


def _shortlist(strategy: Strategy, scene: Scene, seed: int = 0) -> list[int]:
    pool = scene.prompt_pool(strategy)
    return list(strategy.shortlist(pool, NUM_PROMPTS, stream("check", seed)))


def _oversample(strategy: Strategy) -> int:
    return PRESET_OVERSAMPLE if strategy.oversample is None else strategy.oversample


def _chosen(pool: PromptPool, acquisition: Acquisition) -> Chosen:
    """The pairs by what they are, wherever they stand in the pool."""
    return [(pool.prompts[pair.prompt].id, pair.first, pair.second) for pair in acquisition.pairs]


def _declarations(make: Make) -> Iterator[Finding]:
    strategy = make()
    num, sampler, oversample = strategy.num_completions, strategy.samples_from, strategy.oversample
    for wrong, seen, expected in (
        (not getattr(strategy, "summary", ""), "summary is missing", "one line for `apl-bench list strategies`"),
        (type(num) is not int or num < 2, f"num_completions is {num!r}", "K as a whole number, at least 2"),
        (sampler not in ("policy", "reference"), f"samples_from is {sampler!r}", "'policy' or 'reference'"),
        (
            oversample is not None and (type(oversample) is not int or oversample < 1),
            f"oversample is {oversample!r}",
            "J as a whole number, at least 1, or None for the preset's",
        ),
    ):
        if wrong:
            yield Finding("declaration", seen, f"give it {expected}")


def _label_sources(make: Make) -> Iterator[Finding]:
    strategy = make()
    module = sys.modules[type(strategy).__module__]
    for name, value in (*vars(module).items(), *getattr(strategy, "__dict__", {}).items()):
        if isinstance(value, Oracle) or _home(value).startswith(_LABELLERS):
            sentence = f"{name!r} gives it access to an oracle or to recorded judgments ({_home(value)})"
            yield Finding("peeks", sentence, "use the features of the pool: labels are what the budget is for")


def _home(value: object) -> str:
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return home if isinstance(home, str) else type(value).__module__


def _acquisitions(make: Make) -> Iterator[Finding]:
    cases = ((different, NUM_PAIRS), (alike, NUM_PAIRS), (different, 1), (different, NUM_PROMPTS))
    for scene, num_pairs in cases:
        strategy = make()
        pool = scene(NUM_PROMPTS).pool(strategy)
        acquisition = _select(strategy, pool, num_pairs=num_pairs)
        yield from acquisition_faults(acquisition, Room(len(pool), pool.num_completions, num_pairs))


def _shortlists(make: Make) -> Iterator[Finding]:
    strategy = make()
    num_drawn = NUM_PROMPTS * _oversample(strategy)
    for scene in (different(num_drawn), alike(num_drawn)):
        rows = _shortlist(strategy, scene)
        yield from shortlist_faults(rows, num_drawn, NUM_PROMPTS)


def _determinism(make: Make) -> Iterator[Finding]:
    scene = different(NUM_PROMPTS * _oversample(make()))
    once, again = ((_shortlist(make(), scene), _select(make(), scene.pool(make()))) for _ in range(2))
    if once != again:
        seen = "the same pool and the same generator gave two different answers"
        yield Finding("determinism", seen, "draw from the `rng` that is passed, and from nothing else")


def _state(make: Make) -> Iterator[Finding]:
    scene, used = different(NUM_PROMPTS), make()
    _select(used, scene.pool(used, step=1))
    pool = scene.pool(used, step=2)
    if _select(used, pool) != _select(make(), scene.pool(used, step=2)):
        seen = "an instance that was used before selects differently from a new one"
        yield Finding("state", seen, "keep nothing on self: a resumed run starts with a new instance; see pool.history")


def _feature_cache(make: Make) -> Iterator[Finding]:
    strategy, scene = make(), different(NUM_PROMPTS)
    warm = scene.pool(strategy)
    _ = warm.rewards(range(NUM_PROMPTS - 1, -1, -1)), warm.entropy_S, warm.length_SK
    if _select(strategy, warm) != _select(make(), scene.pool(strategy)):
        seen = "it selects differently where features were computed before"
        yield Finding(
            "cache", seen, "ask the pool for features; do not look at which of them exist already (pool.drawn)"
        )


def _waste(make: Make) -> Iterator[Finding]:
    strategy = make()
    pool = different(NUM_PROMPTS).pool(strategy)
    acquisition = _select(strategy, pool)
    if not acquisition.scores and len(pool.drawn) > NUM_PAIRS:
        seen = f"completions of {len(pool.drawn)} prompts were generated for {NUM_PAIRS} pairs, and nothing was scored"
        yield Finding("waste", seen, "select without touching completions, or record the scores that needed them")


def _score_order(make: Make) -> Iterator[Finding]:
    strategy = make()
    acquisition = _select(strategy, different(NUM_PROMPTS).pool(strategy))
    score = dict(zip(acquisition.scored, acquisition.scores, strict=True))
    if not score:
        return
    highest = sorted(score.values(), reverse=True)[:NUM_PAIRS]
    if [score.get(pair) for pair in acquisition.pairs] != highest:
        seen = "the selected pairs are not those of the highest recorded scores, best first"
        yield Finding(
            "scores-order", seen, "record the very numbers that were ranked, higher better; selection.best does"
        )


def _seeded_ties(make: Make) -> Iterator[Finding]:
    strategy, scene = make(), alike(NUM_PROMPTS)
    seeds = range(NUM_SEEDS)
    picks = [[pair.prompt for pair in _select(make(), scene.pool(strategy), seed).pairs] for seed in seeds]
    yield from _tie_faults(picks, "select", "selection.top")
    if _oversample(strategy) > 1:
        scene = alike(NUM_PROMPTS * _oversample(strategy))
        yield from _tie_faults([_shortlist(make(), scene, seed) for seed in seeds], "shortlist", "selection.top")


def _tie_faults(picks: Sequence[Sequence[int]], method: str, rule: str) -> Iterator[Finding]:
    first = list(range(len(picks[0])))
    fixed = len({frozenset(rows) for rows in picks}) == 1
    if fixed or any(sorted(rows) == first for rows in picks):
        seen = f"where all candidates are alike, {method} takes rows {list(picks[0])[:4]}... whatever the seed"
        yield Finding("ties", seen, f"break ties by the generator: {rule} does; at step 1 every margin is 0")


def _permutation(make: Make) -> Iterator[Finding]:
    strategy, scene = make(), different(NUM_PROMPTS)
    straight, other_seed = (scene.pool(strategy) for _ in range(2))
    expected = _chosen(straight, _select(make(), straight))
    if expected != _chosen(other_seed, _select(make(), other_seed, seed=1)):
        return  # a strategy that draws what it selects draws rows
    shuffled = scene.permuted(stream("check", "permutation").permutation(NUM_PROMPTS).tolist()).pool(strategy)
    if _chosen(shuffled, _select(make(), shuffled)) != expected:
        seen = "the same candidates in another order gave another selection, though no two are alike"
        yield Finding("permutation", seen, "let the score depend on a candidate's features, not on its row")


def _exchange(make: Make) -> Iterator[Finding]:
    strategy, scene = make(), different(NUM_PROMPTS)
    straight = _select(make(), scene.pool(strategy))
    exchanged = _select(make(), scene.exchanged(strategy.num_completions).pool(strategy))
    if {pair.prompt for pair in straight.pairs} != {pair.prompt for pair in exchanged.pairs}:
        seen = "exchanging the completions of every prompt changed which prompts were selected"
        yield Finding("swap", seen, "use abs(margin): which completion came first means nothing")


def _entropy_sign(make: Make) -> Iterator[Finding]:
    strategy = make()
    pool = flat_and_peaked(NUM_PROMPTS).pool(strategy)
    picks = [pair.prompt for pair in _select(strategy, pool).pairs]
    prompts = flat_and_peaked(NUM_PROMPTS * _oversample(strategy)).prompt_pool(strategy)
    rows = strategy.shortlist(prompts, NUM_PROMPTS, stream("check", 0))
    for used, chosen in ((pool, picks), (prompts, list(rows))):
        if "entropy_S" in vars(used) and not any(row % 2 == 0 for row in chosen):
            seen = "of prompts with 11 nats of entropy and prompts with 0.3 it took only those with 0.3"
            yield Finding(
                "entropy-sign", seen, "a flatter distribution scores higher: look for a minus sign (equation 8)"
            )


_STAGES = (
    (_declarations, _label_sources),
    (_acquisitions, _shortlists),
    (_determinism,),
    (_state,),
    (_feature_cache, _waste, _score_order, _seeded_ties, _permutation, _exchange, _entropy_sign),
)
