"""An acquisition step of `entropy+certainty` as one would put it together from transformers and TRL.

Prompts and completions stay token ids throughout; reference log-probabilities that certainty needed are given to TRL,
which then need not compute them again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from apl_bench.benchmarks import peers, shapes
from apl_bench.benchmarks.plan import Turn
from apl_bench.benchmarks.sampling import Generated, Request, generate, num_new

TEMPERATURE = 0.7
FORWARD_BATCH = 32  # completions
NUM_COMPLETIONS = 2  # K


def dtype(shape: shapes.Shape) -> torch.dtype:
    """What one would load a model in that only samples and scores."""
    return torch.bfloat16 if shape.mixed else torch.float32


@dataclass(frozen=True)
class Candidates:
    """S prompts with K = 2 completions each, and the log-probabilities of these under both models, shape (S, 2)."""

    prompts: Sequence[shapes.Tokens]
    completions: Sequence[Sequence[shapes.Tokens]]
    policy_SK: np.ndarray
    reference_SK: np.ndarray


@dataclass(frozen=True)
class StepByHand:
    """`theta` samples, `theta_0` is the reference and what training starts from."""

    shape: shapes.Shape
    theta_0: Any
    theta: Any
    prompts: Sequence[shapes.Tokens]

    def run(self) -> Turn:
        """One step."""
        sizes, new = self.shape.step, self.shape.lengths.mean_completion
        samples = generate(self.theta, self.prompts, Request(sizes.num_entropy_samples, 1.0, new, new))
        entropy = -self._logps(self.theta, samples).reshape(len(self.prompts), -1).mean(1)
        kept = [self.prompts[row] for row in highest(entropy, sizes.num_prompts)]
        drawn = generate(self.theta, kept, Request(NUM_COMPLETIONS, TEMPERATURE, new, new))
        pairs, reference = label(best(self._candidates(kept, drawn), sizes.num_labels))
        made = peers.trainer(self.shape, copy.deepcopy(self.theta_0), pairs, reference, sizes.num_epochs)
        return peers.train(made, sum(map(num_new, samples)) + sum(map(num_new, drawn)))

    def _candidates(self, kept: Sequence[shapes.Tokens], drawn: Sequence[Generated]) -> Candidates:
        flat = [tokens for batch in drawn for tokens in completions(batch)]
        both = [flat[start : start + NUM_COMPLETIONS] for start in range(0, len(flat), NUM_COMPLETIONS)]
        scores = (self._logps(model, drawn).reshape(len(kept), -1) for model in (self.theta, self.theta_0))
        return Candidates(kept, both, *scores)

    def _logps(self, model: Any, batches: Sequence[Generated]) -> np.ndarray:
        with torch.autocast(self.shape.device, dtype=torch.bfloat16, enabled=self.shape.mixed):
            return logps(model, batches)


def highest(scores: np.ndarray, num: int) -> list[int]:
    """Rows of the `num` largest, largest first."""
    rows: list[int] = np.argsort(-scores, kind="stable")[:num].tolist()
    return rows


def logps(model: Any, batches: Sequence[Generated]) -> np.ndarray:
    """Summed log-probability of each completion at temperature 1, by a forward pass, nats."""
    parts = [
        peers.tail_logp(model, batch.ids[start : start + FORWARD_BATCH], batch.mask[start : start + FORWARD_BATCH],
                        batch.num_new)
        for batch in batches
        for start in range(0, len(batch.ids), FORWARD_BATCH)
    ]  # fmt: skip
    return torch.cat(parts).double().cpu().numpy()


def completions(batch: Generated) -> Iterator[shapes.Tokens]:
    """The new tokens of each row, up to the first EOS, which counts."""
    new, mask = batch.ids[:, -batch.num_new :].tolist(), batch.mask[:, -batch.num_new :].sum(1).tolist()
    yield from (tuple(row[:length]) for row, length in zip(new, mask, strict=True))


def best(candidates: Candidates, num: int) -> Candidates:
    """The candidates with the largest |margin|, equation 9 (beta changes no order)."""
    reward_SK = candidates.policy_SK - candidates.reference_SK
    rows = highest(np.abs(reward_SK[:, 0] - reward_SK[:, 1]), num)
    prompts = [candidates.prompts[row] for row in rows]
    both = [candidates.completions[row] for row in rows]
    return Candidates(prompts, both, candidates.policy_SK[rows], candidates.reference_SK[rows])


def label(candidates: Candidates) -> tuple[shapes.Pairs, peers.ReferenceLogps]:
    """Chosen and rejected by which text an alphabet has first, with what the reference thinks of them."""
    order = [sorted(range(NUM_COMPLETIONS), key=lambda k: shapes.text(both[k])) for both in candidates.completions]
    sides = [[both[places[k]] for both, places in zip(candidates.completions, order, strict=True)]
             for k in range(NUM_COMPLETIONS)]  # fmt: skip
    reference = [[float(row[places[k]]) for row, places in zip(candidates.reference_SK, order, strict=True)]
                 for k in range(NUM_COMPLETIONS)]  # fmt: skip
    return shapes.Pairs(candidates.prompts, *sides), peers.ReferenceLogps(*reference)
