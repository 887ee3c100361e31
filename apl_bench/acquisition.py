"""One acquisition step of Algorithm 1: prompts, candidates, the strategy's choice, and the labels it buys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apl_bench.contract import Finding, Room, acquisition_faults, shortlist_faults
from apl_bench.experiment import Experiment
from apl_bench.judging import Judged
from apl_bench.pool import CandidatePool, Models, PoolSettings, PromptPool
from apl_bench.protocols import Policy
from apl_bench.randomness import stream
from apl_bench.records import completion_row, judged_row
from apl_bench.types import Acquisition, PairIndex, Preference, Prompt, SpecError


@dataclass(frozen=True)
class Step:
    """What a step did, ready to be recorded."""

    rows: list[dict[str, Any]]
    judged: Sequence[Judged]


def acquire(experiment: Experiment, step: int, theta: Policy, labelled: Sequence[Preference]) -> Step:
    """Sample prompts, generate candidates with theta_t, let the strategy select M pairs, buy their labels."""
    loop, seed, name = experiment.spec.loop, experiment.spec.seed, experiment.spec.strategy.name
    prompts = step_prompts(experiment.materials.train, seed, step, experiment.num_drawn)
    pool = prompt_pool(experiment, step, theta, prompts, labelled)
    rng = stream(seed, "strategy", step)
    kept = experiment.strategy.shortlist(pool, loop.prompts_per_step, rng)
    refuse(shortlist_faults(kept, len(prompts), loop.prompts_per_step), name)
    candidates = pool.candidates(kept)
    acquisition = experiment.strategy.select(candidates, loop.labels_per_step, rng)
    refuse(acquisition_faults(acquisition, Room(len(kept), candidates.num_completions, loop.labels_per_step)), name)
    pairs = candidates.pairs(acquisition.pairs)
    head = {"kind": "step", "step": step, "num_drawn": len(prompts), "num_candidates": len(candidates),
            "num_generated": pool.meter.num_generated, "num_scored": pool.meter.num_scored,
            "diagnostics": dict(acquisition.diagnostics)}  # fmt: skip
    with experiment.materials.clock.stage("oracle"):
        judged = experiment.oracle.judge(pairs)
    margins = candidates.margin(acquisition.pairs)  # figure 3; after the meter was read: not the strategy's cost
    rows = [head, *candidate_rows(candidates, acquisition), *label_rows(acquisition.pairs, judged, margins.tolist())]
    return Step(rows, judged)


def step_prompts(train: Sequence[Prompt], seed: int, step: int, num: int) -> list[Prompt]:
    """The step's prompts: the next `num` of the seed's permutation of X, which starts over when it ends.

    Paper: each arm of its release shuffles anew. Here strategies with one seed meet the same prompts.
    """
    order = stream(seed, "prompts").permutation(len(train))
    first = (step - 1) * num
    return [train[order[place % len(train)]] for place in range(first, first + num)]


def prompt_pool(
    experiment: Experiment, step: int, theta: Policy, prompts: Sequence[Prompt], labelled: Sequence[Preference]
) -> PromptPool:
    """The pool that a strategy sees first: prompts without completions."""
    spec, theta_0 = experiment.spec, experiment.materials.engine.reference()
    sampler = theta_0 if experiment.strategy.samples_from == "reference" else theta
    settings = PoolSettings(
        seed=spec.seed,
        step=step,
        temperature=spec.sampling.train_temperature,
        num_completions=experiment.strategy.num_completions,
        num_entropy_samples=spec.loop.num_entropy_samples,
        beta=spec.training.beta,
    )
    models = Models(theta, theta_0, sampler)
    return PromptPool(prompts, models, settings, experiment.materials.task.bounds, labelled)


def refuse(faults: Sequence[Finding], strategy: str) -> None:
    """Stop a strategy that asks for what it may not have, before a label is paid for."""
    if faults:
        raise SpecError(f"strategy {strategy!r}: {faults[0].sentence}; {faults[0].remedy}. "
                        f"For all that is wrong with it: apl-bench check strategy {strategy}")  # fmt: skip


def candidate_rows(pool: CandidatePool, acquisition: Acquisition) -> Iterator[dict[str, Any]]:
    """Every candidate prompt with the completions that were drawn for it, and the scores that the strategy gave."""
    scores: dict[int, list[list[float]]] = {}
    for index, score in zip(acquisition.scored, acquisition.scores, strict=True):
        scores.setdefault(index.prompt, []).append([index.first, index.second, float(score)])
    drawn = pool.drawn
    for row, prompt in enumerate(pool.prompts):
        yield {
            "kind": "candidate",
            "row": row,
            "prompt_id": prompt.id,
            "prompt": prompt.text,
            "completions": [completion_row(completion) for completion in drawn.get(row, ())],
            "scores": scores.get(row, []),
        }


def label_rows(
    pairs: Sequence[PairIndex], judged: Sequence[Judged], margins: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Every pair bought, in the strategy's order, with its verdict and theta_t's margin r(first) - r(second)."""
    for rank, (index, item, margin) in enumerate(zip(pairs, judged, margins, strict=True)):
        place = {"row": index.prompt, "first": index.first, "second": index.second}
        yield {"kind": "label", "rank": rank, **place, "margin": margin, **judged_row(item)}
