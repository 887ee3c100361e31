"""A waypoint: completions of held-out prompts, judged against the opponent's, and what stands beside the win rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from apl_bench.acquisition import Step
from apl_bench.experiment import Experiment
from apl_bench.protocols import Policy
from apl_bench.records import completion_row, judged_row
from apl_bench.types import Completion, Pair, Prompt, Sample, SampleRequest


class Evaluation:
    """The held-out prompts of a run, and the opponent's completions, which are drawn once."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._prompts = experiment.materials.test

    def at(self, theta: Policy, num_labels: int) -> Step:
        """Judge theta's completions against the opponent's: rows for the record, and the judgments behind them."""
        samples = self._draw(theta, 0)
        ours = [sample.completion for sample in samples]
        pairs = [Pair(*sides) for sides in zip(self._prompts, ours, self._opponents, strict=True)]
        with self._experiment.materials.clock.stage("oracle"):
            judged = self._experiment.judge.judge(pairs)
        rows: list[dict[str, Any]] = [{"kind": "waypoint", "num_labels": num_labels}]
        for sample, logp, item in zip(samples, self._reference_logps(ours), judged, strict=True):
            logps = {"policy_logp": sample.logp, "reference_logp": logp}
            rows.append({"kind": "comparison", **pair_row(item.pair), **logps, **judged_row(item)})
        return Step([*rows, *self._human_rows(theta)], judged)

    def _reference_logps(self, completions: Sequence[Completion]) -> list[float | None]:
        """log p_theta0 of the probes' completions, for KL; None for the other prompts."""
        num = self._experiment.spec.evaluation.num_probe_prompts
        reference = self._experiment.materials.engine.reference()
        logps = reference.logp(self._prompts[:num], completions[:num]).tolist()
        return [*logps, *[None] * (len(completions) - num)]

    @cached_property
    def _opponents(self) -> list[Completion]:
        if self._experiment.materials.task.opponent == "reference":
            return [sample.completion for sample in self._draw(self._experiment.materials.engine.reference(), 1)]
        return [_human(prompt, ()) for prompt in self._prompts]

    def _draw(self, policy: Policy, side: int) -> list[Sample]:
        """One test completion a prompt; `side` keeps the policy's random numbers apart from the opponent's."""
        bounds, seed = self._experiment.materials.task.bounds, self._experiment.spec.seed
        requests = [SampleRequest(prompt, bounds(prompt), (seed, "test", prompt.id, side)) for prompt in self._prompts]
        return policy.sample(requests, self._experiment.spec.sampling.test_temperature)

    def _human_rows(self, theta: Policy) -> Iterator[dict[str, Any]]:
        """Log-probability of what people wrote after the same prompts: does the policy still model language?"""
        num = self._experiment.spec.evaluation.num_probe_prompts
        prompts = [prompt for prompt in self._prompts[:num] if prompt.human_completion]
        encode = theta.tokenizer.encode
        humans = [_human(prompt, encode(prompt.human_completion or "")) for prompt in prompts]
        logps = theta.logp(prompts, humans).tolist() if humans else []
        for prompt, human, logp in zip(prompts, humans, logps, strict=True):
            yield {"kind": "human", "prompt_id": prompt.id, "num_tokens": len(human.token_ids), "logp": logp}


def pair_row(pair: Pair) -> dict[str, Any]:
    """A test comparison's texts; the policy under test stands first."""
    sides = {"policy": completion_row(pair.first), "opponent": completion_row(pair.second)}
    return {"prompt_id": pair.prompt.id, "prompt": pair.prompt.text, **sides}


def _human(prompt: Prompt, token_ids: Sequence[int]) -> Completion:
    assert prompt.human_completion is not None, "the task's opponent is human and it has no human completion"
    return Completion(prompt.human_completion, tuple(token_ids), finished=True)
