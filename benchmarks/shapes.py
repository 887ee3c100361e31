"""The shapes that are measured: a model with random weights, and prompts and completions of random tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from apl_bench.engine.sampling import Draw
from apl_bench.types import LengthBounds

EOS = 0
VOCABULARY = 4096
PROMPT_TOKENS = (8, 16)  # paper.md, table 1: both ends included
COMPLETION_TOKENS = (16, 24)


@dataclass(frozen=True, slots=True)
class Shape:
    """A model by its config, and how many pairs and completions it is measured on."""

    name: str
    config: Any
    num_pairs: int
    batch_size: int
    num_completions: int


def lite() -> Shape:
    """The shipped policy's size, on the lengths of IMDB."""
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=64, n_embd=192, n_layer=6, n_head=6, activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=EOS,
    )  # fmt: skip
    return Shape("GPT-2, 3.5M parameters", config, 128, 64, 512)


def smollm2() -> Shape:
    """The size of SmolLM2-135M, on the same lengths."""
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, tie_word_embeddings=True, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=EOS,
    )  # fmt: skip
    return Shape("Llama, 135M parameters", config, 16, 8, 32)


def build(shape: Shape) -> PreTrainedModel:
    """The model, in fp32, without dropout, with weights drawn from a fixed seed."""
    torch.manual_seed(0)
    kind = GPT2LMHeadModel if isinstance(shape.config, GPT2Config) else LlamaForCausalLM
    model: PreTrainedModel = kind(shape.config)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def tokens(rng: np.random.Generator, length: int) -> tuple[int, ...]:
    """Random tokens, none of them EOS."""
    return tuple(rng.integers(1, VOCABULARY, length).tolist())


def draws(num: int, longest: Callable[[np.random.Generator], int]) -> list[Draw]:
    """Two completions for each of num / 2 prompts; `longest` says how long a prompt's completions may get."""
    rng, requests = np.random.default_rng(0), []
    for row in range(num // 2):
        prompt = tokens(rng, int(rng.integers(PROMPT_TOKENS[0], PROMPT_TOKENS[1] + 1)))
        bounds = LengthBounds(COMPLETION_TOKENS[0], longest(rng))
        requests += [Draw(prompt, bounds, (0, "benchmark", row, k)) for k in range(2)]
    return requests


def all_long(_: np.random.Generator) -> int:
    """Every completion may get as long as any."""
    return COMPLETION_TOKENS[1]


def as_in_imdb(rng: np.random.Generator) -> int:
    """Each prompt has a maximum of its own, as in the task `imdb`."""
    return int(rng.integers(COMPLETION_TOKENS[0], COMPLETION_TOKENS[1] + 1))


def pairs(num: int) -> tuple[Sequence[tuple[int, ...]], Sequence[tuple[int, ...]], Sequence[tuple[int, ...]]]:
    """Prompts, chosen and rejected completions of `num` pairs."""
    rng = np.random.default_rng(1)
    prompts = [tokens(rng, int(rng.integers(PROMPT_TOKENS[0], PROMPT_TOKENS[1] + 1))) for _ in range(num)]
    low, high = COMPLETION_TOKENS
    chosen, rejected = ([tokens(rng, int(rng.integers(low, high + 1))) for _ in range(num)] for _ in range(2))
    return prompts, chosen, rejected
