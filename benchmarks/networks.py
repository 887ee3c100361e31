"""Our side of every race: the engine's own parts on a shape's model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apl_bench.benchmarks import shapes
from apl_bench.engine.huggingface import HuggingFaceEngine, HuggingFacePolicy
from apl_bench.engine.models import PolicyTokenizer
from apl_bench.engine.network import Network
from apl_bench.spec import LoraSpec

RANK, ALPHA = 8, 16
TARGETS = {"llama": ("q_proj", "k_proj", "v_proj", "o_proj"), "gpt2": ("c_attn",)}  # attention, by kind of model
EOS_IDS = (shapes.EOS,)


def network(shape: shapes.Shape, model: Any) -> Network:
    """The model, split. It is ours from now on: on a CPU its attention is the engine's."""
    return Network(model, shape.mixed)


def lora_network(shape: shapes.Shape, model: Any) -> Network:
    """theta_0 of a model whose policies are adapters."""
    from apl_bench.engine.lora import Adapters, LoraNetwork

    lora = LoraSpec(RANK, ALPHA, TARGETS[model.config.model_type])
    return LoraNetwork(model, shape.mixed, Adapters(model, lora), None)


TRAINED: dict[str, Callable[[shapes.Shape, Any], Network]] = {
    "all weights": network,
    f"LoRA, rank {RANK}": lora_network,
}


def tokenizer(shape: shapes.Shape) -> PolicyTokenizer:
    """The shape's, as the engine uses it; remembers nothing yet."""
    return PolicyTokenizer(shapes.tokenizer(shape.config.vocab_size))


def engine(shape: shapes.Shape, theta_0: Network) -> HuggingFaceEngine:
    """An engine that remembers nothing yet of what its theta_0 scored."""
    return HuggingFaceEngine(theta_0, tokenizer(shape), EOS_IDS)


def policy(shape: shapes.Shape, theta: Network) -> HuggingFacePolicy:
    """A policy of the shape's engines."""
    return HuggingFacePolicy(theta, tokenizer(shape), EOS_IDS)
