"""How much memory a token takes, measured on the model itself, and so how many tokens may be held at a time.

Training keeps what the backward pass needs of each token (in all layers; with adapters less, since frozen weights need
no inputs kept); sampling and scoring keep its keys and values. On a CPU both are functions of the model alone,
whatever the data, so that a run that goes on later goes on with the same micro-batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers.cache_utils import DynamicCache

from apl_bench.engine.device import Budgets, TokenBudget
from apl_bench.engine.shared import Group, logp_of_groups

if TYPE_CHECKING:
    from apl_bench.engine.network import Network

CPU_ROOM = {"sampling": 1 << 30, "scoring": 1 << 29, "training": 1 << 29}  # bytes
MOST_TRAINING_ROOM = 1 << 30  # bytes on a CPU: a batch that takes more leaves its caches and is slower
CUDA_SHARE = 1 / 3  # of what is free when the work begins
# Above these, larger batches gain nothing: on a CPU they leave its caches, in which a large model's weights never were.
MOST_TOKENS = {
    "cpu": {"sampling": 16384, "scoring": 4096, "training": 2048},
    "cpu, large": {"sampling": 32768, "scoring": 4096, "training": 2048},
    "cuda": {"sampling": 131072, "scoring": 65536, "training": 16384},
}
SAMPLE_LENGTH = 64  # tokens of the sequence that is measured


def new_budgets(network: Network) -> Budgets:
    """For sampling and scoring; that for training is found at the first training, on a network that trains."""
    size = cached_bytes_a_token(network)
    return Budgets(*(_budget(network, work, size) for work in ("sampling", "scoring")))


def new_training_budget(network: Network) -> TokenBudget:
    """For this network as it trains, adapters or all weights.

    On a CPU tokens may take as much as the trained weights with their gradients and Adam's moments, where that is more,
    and at most MOST_TRAINING_ROOM.
    """
    state = 4 * sum(weight.nbytes for weight in network.parameters.values())
    return _budget(network, "training", kept_bytes_a_token(network), min(state, MOST_TRAINING_ROOM))


@torch.inference_mode()
def cached_bytes_a_token(network: Network) -> float:
    """Bytes of keys and values of one token."""
    ids = torch.ones((1, 8), dtype=torch.int64, device=network.device)
    cache = DynamicCache(config=network.model.config)
    network.hidden(ids, past_key_values=cache)
    tensors = [tensor for layer in cache.layers for tensor in vars(layer).values() if isinstance(tensor, torch.Tensor)]
    return sum(tensor.nbytes for tensor in tensors) / ids.numel()


def kept_bytes_a_token(network: Network) -> float:
    """Bytes that the backward pass needs of one token, weights left out; measured in a row as training makes them."""
    length = min(SAMPLE_LENGTH, network.max_length)
    group = Group((1,) * (length // 2), ((2,) * (length // 4), (3,) * (length // 4)))
    weights = {weight.untyped_storage().data_ptr() for weight in network.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a step that keeps what it gives would hold itself, and all weights, for good

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logp = logp_of_groups(network, [group])
    del logp
    return sum(kept.values()) / group.length


def _budget(network: Network, work: str, bytes_a_token: float, least: int = 0) -> TokenBudget:
    kind = network.device.type
    room = max(CPU_ROOM[work], least) if kind == "cpu" else torch.cuda.mem_get_info(network.device)[0] * CUDA_SHARE
    most = MOST_TOKENS[kind if network.is_small or kind == "cuda" else "cpu, large"][work]
    return TokenBudget(work, max(1, min(most, int(room / max(bytes_a_token, 1.0)))))
