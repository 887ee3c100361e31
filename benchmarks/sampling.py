"""Sampling against transformers' `generate`, as a user would call it: one left-padded batch after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from apl_bench.engine import sampling
from apl_bench.engine.network import Network
from benchmarks import shapes

TEMPERATURE = 0.7
GENERATE_BATCH = 256


def contenders(shape: shapes.Shape, draws: list[sampling.Draw]) -> dict[str, Callable[[], None]]:
    """Both sample for the same prompts; `generate` has one maximum for a whole batch, so it runs to the longest."""
    network, model = Network(shapes.build(shape), mixed=False), shapes.build(shape)
    settings = sampling.Settings(TEMPERATURE, (shapes.EOS,))
    prompts = [list(draw.prompt) for draw in draws]
    return {
        "apl-bench": lambda: _discard(sampling.sample(network, draws, settings)),
        "transformers generate": lambda: generate(model, prompts),
    }


@torch.inference_mode()
def generate(model: Any, prompts: list[list[int]]) -> None:
    """Sample for all prompts, in their order."""
    for start in range(0, len(prompts), GENERATE_BATCH):
        batch = prompts[start : start + GENERATE_BATCH]
        width = max(map(len, batch))
        ids = torch.tensor([[shapes.EOS] * (width - len(prompt)) + prompt for prompt in batch])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch])
        low, high = shapes.COMPLETION_TOKENS
        model.generate(
            ids, attention_mask=mask, do_sample=True, temperature=TEMPERATURE, top_k=0, min_new_tokens=low,
            max_new_tokens=high, pad_token_id=shapes.EOS,
        )  # fmt: skip


def _discard(result: Any) -> None:
    del result
