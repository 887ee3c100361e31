"""Sampling against transformers' `generate`, as a user would call it: one left-padded batch after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from apl_bench.engine import sampling
from apl_bench.engine.network import Network
from benchmarks import shapes

TEMPERATURE = 0.7
GENERATE_BATCH = 256  # completions


def contenders(shape: shapes.Shape, draws: list[sampling.Draw], num_each: int) -> dict[str, Callable[[], None]]:
    """Both sample as many completions for the same prompts; `generate` has one maximum, so it runs to the longest."""
    network, model = Network(shapes.build(shape), mixed=False), shapes.build(shape)
    settings = sampling.Settings(TEMPERATURE, (shapes.EOS,))
    prompts = [list(draw.prompt) for draw in draws[::num_each]]
    return {
        "apl-bench": lambda: _discard(sampling.sample(network, draws, settings)),
        "transformers generate": lambda: generate(model, prompts, num_each, shape.lengths.completion),
    }


@torch.inference_mode()
def generate(model: Any, prompts: list[list[int]], num_each: int, between: tuple[int, int]) -> None:
    """Sample for all prompts, in their order."""
    num = max(1, GENERATE_BATCH // num_each)
    for start in range(0, len(prompts), num):
        batch = prompts[start : start + num]
        width = max(map(len, batch))
        ids = torch.tensor([[shapes.EOS] * (width - len(prompt)) + prompt for prompt in batch])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch])
        model.generate(
            ids, attention_mask=mask, do_sample=True, temperature=TEMPERATURE, top_k=0, num_return_sequences=num_each,
            min_new_tokens=between[0], max_new_tokens=between[1], pad_token_id=shapes.EOS,
        )  # fmt: skip


def _discard(result: Any) -> None:
    del result
