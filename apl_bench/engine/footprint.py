"""How much memory a token takes, measured on the model itself, and so how many tokens may be held at a time.

Training keeps what the backward pass needs of each token (in all layers; with adapters less, since frozen weights need
no inputs kept); sampling and scoring keep its keys and values. On a CPU both are functions of the model alone,
whatever the data, so that a run that goes on later goes on with the same micro-batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.cache_utils import DynamicCache

from apl_bench.engine.device import Budgets, TokenBudget
from apl_bench.engine.shared import Group, body, logp_of_groups

if TYPE_CHECKING:
    from apl_bench.engine.network import Network

# Bytes. More for training gains nothing: an update of SmolLM2 took as long with 750 tokens at a time as with 1,130, and
# 3 % longer with 565.
CPU_ROOM = {"sampling": 1 << 30, "scoring": 1 << 29, "training": 3 << 28}
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
    """For this network as it trains, adapters or all weights."""
    return _budget(network, "training", kept_bytes_a_token(network))


@torch.inference_mode()
def cached_bytes_a_token(network: Network) -> float:
    """Bytes of keys and values of one token."""
    ids = torch.ones((1, 8), dtype=torch.int64, device=network.device)
    cache = DynamicCache(config=network.model.config)
    network.hidden(ids, past_key_values=cache)
    tensors = [tensor for layer in cache.layers for tensor in vars(layer).values() if isinstance(tensor, torch.Tensor)]
    return sum(tensor.nbytes for tensor in tensors) / ids.numel()


def kept_bytes_a_token(network: Network) -> float:
    """Bytes that the backward pass needs of one token, weights left out; measured in a row as training makes them.

    A plain head's probabilities do not count: they have a buffer of their own.
    """
    length = min(SAMPLE_LENGTH, network.max_length)
    group = Group((1,) * (length // 2), ((2,) * (length // 4), (3,) * (length // 4)))
    own = {state.untyped_storage().data_ptr() for state in (*network.model.parameters(), *network.model.buffers())}
    run = body if network.head.is_plain else logp_of_groups
    with torch.enable_grad(), LiveArrays() as arrays:
        found = run(network, [group])
    kept = sum(size for place, size in arrays.found() if place not in own)
    del found
    return float(kept / group.length)


class LiveArrays(TorchDispatchMode):
    """Sees what every operation makes, and which of it is still held: by whom does not matter."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                held = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                self._storages[storage.data_ptr()] = held, storage.nbytes()
        return made

    def found(self) -> list[tuple[int, int]]:
        """Address and bytes of each array that is held."""
        seen = self._storages.items()
        return [(place, size) for place, (storage, size) in seen if not storage.expired()]  # type: ignore[no-untyped-call]


def _budget(network: Network, work: str, bytes_a_token: float) -> TokenBudget:
    kind = network.device.type
    room = CPU_ROOM[work] if kind == "cpu" else torch.cuda.mem_get_info(network.device)[0] * CUDA_SHARE
    most = MOST_TOKENS[kind if network.is_small or kind == "cuda" else "cpu, large"][work]
    return TokenBudget(work, max(1, min(most, int(room / max(bytes_a_token, 1.0)))))
