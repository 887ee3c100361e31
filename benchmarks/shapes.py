"""The shapes that are measured: a model with random weights, and prompts and completions of random tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from apl_bench.engine.sampling import Draw
from apl_bench.types import LengthBounds

EOS = 0
VOCABULARY = 4096


@dataclass(frozen=True, slots=True)
class Lengths:
    """Shortest and longest prompt and completion, in tokens; both ends included."""

    name: str
    prompt: tuple[int, int]
    completion: tuple[int, int]


IMDB = Lengths("imdb", (8, 16), (16, 24))  # paper.md, table 1
TLDR = Lengths("tldr", (160, 240), (32, 48))  # posts of some 600 characters, and summaries as people write them


@dataclass(frozen=True, slots=True)
class Shape:
    """A model by its config, the lengths, and how many pairs and prompts it is measured on."""

    name: str
    config: Any
    lengths: Lengths
    num_pairs: int
    batch_size: int
    num_prompts: int


def lite() -> Shape:
    """The shipped policy's size, on the lengths of IMDB."""
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=64, n_embd=192, n_layer=6, n_head=6, activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=EOS,
    )  # fmt: skip
    return Shape("GPT-2, 3.5M parameters, lengths of imdb", config, IMDB, 128, 64, 256)


def smollm2_imdb() -> Shape:
    """The size of SmolLM2-135M, on the same lengths."""
    return Shape("Llama, 135M parameters, lengths of imdb", _smollm2(), IMDB, 64, 32, 16)


def smollm2_tldr() -> Shape:
    """The same model on posts and summaries."""
    return Shape("Llama, 135M parameters, lengths of tldr", _smollm2(), TLDR, 16, 8, 8)


def _smollm2() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, tie_word_embeddings=True, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=EOS,
    )  # fmt: skip


SHAPES: Mapping[str, Callable[[], Shape]] = {
    "lite": lite,
    "smollm2-imdb": smollm2_imdb,
    "smollm2-tldr": smollm2_tldr,
}


def build(shape: Shape) -> PreTrainedModel:
    """The model, in fp32, without dropout, with weights drawn from a fixed seed."""
    torch.manual_seed(0)
    kind = GPT2LMHeadModel if isinstance(shape.config, GPT2Config) else LlamaForCausalLM
    model: PreTrainedModel = kind(shape.config)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def tokens(rng: np.random.Generator, between: tuple[int, int]) -> tuple[int, ...]:
    """Random tokens, none of them EOS, as many as one of these numbers."""
    return tuple(rng.integers(1, VOCABULARY, int(rng.integers(between[0], between[1] + 1))).tolist())


def draws(shape: Shape, num_each: int, own_maximum: bool) -> list[Draw]:
    """`num_each` completions for each prompt; with a maximum of each prompt's own, as in the task `imdb`, or the same
    for all."""
    rng, requests = np.random.default_rng(0), []
    low, high = shape.lengths.completion
    for row in range(shape.num_prompts):
        prompt = tokens(rng, shape.lengths.prompt)
        bounds = LengthBounds(low, int(rng.integers(low, high + 1)) if own_maximum else high)
        requests += [Draw(prompt, bounds, (0, "benchmark", row, k)) for k in range(num_each)]
    return requests


def pairs(shape: Shape) -> tuple[Sequence[tuple[int, ...]], Sequence[tuple[int, ...]], Sequence[tuple[int, ...]]]:
    """Prompts, chosen and rejected completions."""
    rng, num = np.random.default_rng(1), shape.num_pairs
    prompts = [tokens(rng, shape.lengths.prompt) for _ in range(num)]
    chosen, rejected = ([tokens(rng, shape.lengths.completion) for _ in range(num)] for _ in range(2))
    return prompts, chosen, rejected
