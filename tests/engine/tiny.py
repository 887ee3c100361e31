"""Tiny models with random weights, and a tokenizer of bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from apl_bench.engine.huggingface import HuggingFaceEngine
from apl_bench.engine.models import PolicyTokenizer
from apl_bench.engine.network import Network
from apl_bench.engine.scoring import Sequences
from apl_bench.spec import TrainingSpec
from apl_bench.types import Completion, Preference, Prompt

EOS = 0
VOCABULARY = 257
SHARED: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64, "bos_token_id": EOS, "eos_token_id": EOS,
    "pad_token_id": EOS,
}  # fmt: skip


def gpt2(dropout: float = 0.0) -> Any:
    """Absolute positions, tied head."""
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=EOS, eos_token_id=EOS,
        pad_token_id=EOS, resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
    )  # fmt: skip
    return with_seed(GPT2LMHeadModel, config)


def llama() -> Any:
    """Rotary positions, keys shared by two heads each, a head of its own."""
    return with_seed(LlamaForCausalLM, LlamaConfig(**SHARED, num_key_value_heads=2))


def neox() -> Any:
    """Rotary positions on a part of each head, parallel residuals."""
    return with_seed(GPTNeoXForCausalLM, GPTNeoXConfig(**SHARED))


def gemma2() -> Any:
    """Logits capped by tanh; a sliding window in every other layer, shorter than the sequences."""
    config = Gemma2Config(**SHARED, num_key_value_heads=2, head_dim=8, sliding_window=16, final_logit_softcapping=0.5)
    return with_seed(Gemma2ForCausalLM, config)


def granite() -> Any:
    """Logits divided by a constant."""
    return with_seed(GraniteForCausalLM, GraniteConfig(**SHARED, num_key_value_heads=2, logits_scaling=4.0))


def cohere() -> Any:
    """Logits multiplied by a constant."""
    return with_seed(CohereForCausalLM, CohereConfig(**SHARED, num_key_value_heads=2, logit_scale=0.25))


KINDS: dict[str, Callable[[], Any]] = {
    "gpt2": gpt2, "llama": llama, "neox": neox, "gemma2": gemma2, "granite": granite, "cohere": cohere,
}  # fmt: skip


def with_seed(kind: Any, config: Any) -> Any:
    """Weights large enough that the model has opinions: small ones make every distribution nearly flat."""
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(5.0)
    return model


def tokenizer() -> PolicyTokenizer:
    """One token a byte; token 0 ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<eos>": EOS, **{letter: place + 1 for place, letter in enumerate(alphabet)}}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PolicyTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>"))  # type: ignore[no-untyped-call]


def network(kind: str = "gpt2") -> Network:
    """A tiny model of this kind, split."""
    return Network(KINDS[kind](), mixed=False)


def large_network(kind: str = "gpt2") -> Network:
    """The same, held to be a model that does not fit into caches."""
    large = network(kind)
    large.is_small = False
    return large


def fed_shapes(network: Network, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of what each pass through the body from now on is fed."""
    assert network.budgets  # measured on the model, at first use
    original, fed = network.hidden, list[tuple[int, ...]]()

    def hidden(ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
        fed.append(tuple(ids.shape))
        return original(ids, **inputs)

    monkeypatch.setattr(network, "hidden", hidden)
    return fed


def engine(kind: str = "gpt2") -> HuggingFaceEngine:
    """An engine over a tiny model of this kind."""
    return HuggingFaceEngine(network(kind), tokenizer(), (EOS,))


def tokens(rng: np.random.Generator, length: int) -> tuple[int, ...]:
    """Random tokens, none of them EOS."""
    return tuple(rng.integers(1, VOCABULARY, length).tolist())


def sequences(num: int, seed: int = 0) -> Sequences:
    """Prompts of 1 to 20 tokens with completions of 1 to 12."""
    rng = np.random.default_rng(seed)
    prompts = [tokens(rng, int(rng.integers(1, 21))) for _ in range(num)]
    return Sequences(prompts, [tokens(rng, int(rng.integers(1, 13))) for _ in range(num)])


def preferences(num: int, seed: int = 0) -> list[Preference]:
    """Labelled pairs of different lengths, of letters."""
    rng = np.random.default_rng(seed)

    def text(low: int, high: int) -> str:
        return "".join(chr(97 + int(letter)) for letter in rng.integers(0, 26, int(rng.integers(low, high))))

    def completion() -> Completion:
        words = text(2, 12)
        return Completion(words, tuple(tokenizer().encode(words)), False)

    prompts = [text(3, 10) for _ in range(num)]
    return [Preference(Prompt(words, words), completion(), completion(), 1) for words in prompts]


def training(**changes: Any) -> TrainingSpec:
    """Settings that move a tiny model visibly."""
    settings = {
        "learning_rate": 1e-3, "beta": 0.2, "batch_size": 4, "epochs": 2, "adam_beta1": 0.9, "adam_beta2": 0.999,
        "adam_epsilon": 1e-8, "max_grad_norm": 1.0,
    }  # fmt: skip
    return TrainingSpec(**{**settings, **changes})
