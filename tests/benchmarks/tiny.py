"""Shapes for tests alone: models that take milliseconds."""

from __future__ import annotations

from transformers import GPT2Config, LlamaConfig

from apl_bench.benchmarks.shapes import EOS, WORDS, Lengths, Shape, StepSizes

LENGTHS = Lengths((4, 8), (3, 5))
STEP = StepSizes(num_prompts=4, oversample=2, num_entropy_samples=3, num_labels=2, num_epochs=2)


def llama() -> Shape:
    """A Llama with a hidden size of 16."""
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=EOS,
    )  # fmt: skip
    return Shape("tiny", "Llama with nearly no parameters", config, LENGTHS, 6, 3, 4, STEP)


def gpt2() -> Shape:
    """A GPT-2 of that size."""
    config = GPT2Config(
        vocab_size=WORDS, n_positions=32, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=EOS,
    )  # fmt: skip
    return Shape("tiny", "GPT-2 with nearly no parameters", config, LENGTHS, 6, 3, 4, STEP)
