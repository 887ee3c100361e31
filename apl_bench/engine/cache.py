"""Keys and values of completions, in storage that is allocated once and filled from prompts that have run.

transformers' own dynamic cache copies everything seen so far at every token (`torch.cat`).
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, LinearAttentionCacheLayerMixin


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's keys and values, shape (rows, heads, length, head size).

    They are a view of storage that has room for `capacity` positions.
    """

    _layer_type = None  # a layer type here would make transformers use this class wherever it builds a cache
    keys: Tensor
    values: Tensor

    def __init__(self, like: DynamicLayer, keys: Tensor, values: Tensor, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device, self.is_initialized = like.dtype, like.device, True
        self._key_storage, self._value_storage = keys, values
        self._show(length)

    def put(self, rows: Tensor, layer: DynamicLayer, prompts: Tensor) -> None:
        """Make a layer's `prompts` these rows, up to the end of what is shown.

        Zeros stand before them, since what a mask hides must be finite.
        """
        for shown, states in zip((self.keys, self.values), _states(layer), strict=True):
            missing = shown.shape[2] - states.shape[2]
            shown[:, :, :missing].index_fill_(0, rows, 0.0)
            shown[:, :, missing:].index_copy_(0, rows, states[prompts])

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        *args: Any,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Write new positions behind those seen so far, and return all."""
        start = self.keys.shape[2]
        stop = start + key_states.shape[2]
        self._key_storage[:, :, start:stop] = key_states
        self._value_storage[:, :, start:stop] = value_states
        self._show(stop)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, moved to the front of the storage that is there: new ones would leave gaps in the heap."""
        num, length = len(indices), self.keys.shape[2]
        if not torch.equal(indices, torch.arange(num, device=indices.device)):
            for storage in (self._key_storage, self._value_storage):
                storage[:num, :, :length] = storage[indices, :, :length]
        self._key_storage, self._value_storage = self._key_storage[:num], self._value_storage[:num]
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = self._key_storage[:, :, :length], self._value_storage[:, :, :length]


def is_plain(config: Any) -> bool:
    """Whether all layers keep the keys and values of everything: no sliding windows."""
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def is_recurrent(config: Any) -> bool:
    """Whether some layers keep a state that each token changes: what has run can't be handed to several completions."""
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in DynamicCache(config=config).layers)


def room_for(prompts: DynamicCache, num_rows: int, length: int, capacity: int) -> DynamicCache:
    """A cache for `num_rows` completions of such prompts, padded to `length`, with room for `capacity` positions.

    One array for all layers, which the C library maps by itself: many would be gaps in the heap when they go. Layers
    that are not plain keep their own kind, and grow by copying.
    """
    plain = [layer for layer in prompts.layers if type(layer) is DynamicLayer]
    shapes = [(num_rows, states.shape[1], capacity, states.shape[3]) for layer in plain for states in _states(layer)]
    sizes = [math.prod(shape) for shape in shapes]
    whole = _states(plain[0])[0].new_empty(sum(sizes)) if plain else torch.empty(0)
    pieces = (piece.view(shape) for piece, shape in zip(torch.split(whole, sizes), shapes, strict=True))
    room = copy.copy(prompts)
    room.layers = [
        GrowingLayer(layer, next(pieces), next(pieces), length) if type(layer) is DynamicLayer else copy.copy(layer)
        for layer in prompts.layers
    ]
    return room


def _states(layer: DynamicLayer) -> tuple[Tensor, Tensor]:
    """Keys and values."""
    assert layer.keys is not None
    assert layer.values is not None
    return layer.keys, layer.values


def put(room: DynamicCache, rows: Tensor, cache: DynamicCache, prompts: Tensor) -> None:
    """Make these `prompts` of a cache these rows of the room; all rows at once where layers are not plain."""
    for own, layer in zip(room.layers, cache.layers, strict=True):
        if isinstance(own, GrowingLayer):
            assert isinstance(layer, DynamicLayer)
            own.put(rows, layer, prompts)
        else:
            own.batch_select_indices(prompts)  # type: ignore[union-attr]
