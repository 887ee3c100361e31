"""Sampling against transformers' `generate`, as a user would call it: one left-padded batch after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from apl_bench.benchmarks import networks, shapes
from apl_bench.benchmarks.plan import Contenders, Plan, Turn
from apl_bench.benchmarks.results import Race
from apl_bench.engine import sampling

TEMPERATURE = 0.7
GENERATE_BATCH = 256  # completions
NUM_EACH = (2, 8)  # K of a pair, N of an entropy


def measure(plan: Plan) -> Iterator[Race]:
    """Pairs and entropy samples, all of one length, and each prompt with a maximum of its own."""
    for num_each in NUM_EACH:
        for own_maximum in (False, True):
            draws = shapes.draws(plan.shape, num_each, own_maximum)
            low, high = plan.shape.lengths.completion
            lengths = f"{low}-{high} tokens, each prompt its own maximum" if own_maximum else (
                f"{plan.shape.lengths.mean_completion} tokens each")  # fmt: skip
            title = f"{len(draws)} completions, {num_each} a prompt, {lengths}"
            yield plan.race("sampling", title, contenders(plan.shape, draws, num_each))


def contenders(shape: shapes.Shape, draws: Sequence[sampling.Draw], num_each: int) -> Contenders:
    """Both sample as many completions for the same prompts; `generate` has one maximum, so it runs to the longest."""
    ours, theirs = networks.network(shape, shapes.build(shape)), for_generate(shape)
    settings = sampling.Settings(TEMPERATURE, networks.EOS_IDS)
    prompts = [draw.prompt for draw in draws[::num_each]]
    request = Request(num_each, TEMPERATURE, draws[0].bounds.min_new_tokens,
                      max(draw.bounds.max_new_tokens for draw in draws))  # fmt: skip
    return {
        "apl-bench": lambda: Turn(sum(len(drawn.tokens) for drawn in sampling.sample(ours, draws, settings))),
        "transformers generate": lambda: Turn(sum(map(num_new, generate(theirs, prompts, request)))),
    }


@dataclass(frozen=True, slots=True)
class Request:
    """What `generate` is asked for: completions a prompt, temperature, and how long they may get, EOS included."""

    num_each: int
    temperature: float
    min_new_tokens: int
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Generated:
    """What came back for a batch of prompts, `num_each` rows a prompt: left-padded prompts, then what is new."""

    ids: torch.Tensor
    mask: torch.Tensor
    num_new: int


def for_generate(shape: shapes.Shape) -> Any:
    """The model as a user would load it: in bfloat16, where that was chosen."""
    model = shapes.build(shape)
    return model.to(torch.bfloat16) if shape.mixed else model


def num_new(generated: Generated) -> int:
    """Completion tokens of a batch."""
    return int(generated.mask[:, -generated.num_new :].sum())


@torch.inference_mode()
def generate(model: Any, prompts: Sequence[shapes.Tokens], request: Request) -> list[Generated]:
    """Sample for all prompts, in their order."""
    num = max(1, GENERATE_BATCH // request.num_each)
    return [_batch(model, prompts[start : start + num], request) for start in range(0, len(prompts), num)]


def _batch(model: Any, prompts: Sequence[shapes.Tokens], request: Request) -> Generated:
    width = max(map(len, prompts))
    ids = torch.tensor([[shapes.EOS] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    out = model.generate(
        ids, attention_mask=mask, do_sample=True, temperature=request.temperature, top_k=0,
        num_return_sequences=request.num_each, min_new_tokens=request.min_new_tokens,
        max_new_tokens=request.max_new_tokens, pad_token_id=shapes.EOS,
    )  # fmt: skip
    new = out[:, width:]
    is_new = (new == shapes.EOS).cumsum(1) - (new == shapes.EOS).long() == 0  # up to the first EOS, which counts
    return Generated(out, torch.cat([mask.repeat_interleave(request.num_each, 0), is_new.long()], 1), new.shape[1])
