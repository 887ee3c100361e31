"""Keys and values of the sampling loop, in storage that is allocated once for each batch.

transformers' own dynamic cache copies everything seen so far at every token (`torch.cat`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin, DynamicCache, DynamicLayer


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's keys and values, shape (rows, heads, length, head size).

    They are a view of storage that has room for `capacity` positions.
    """

    _layer_type = None  # a layer type here would make transformers use this class wherever it builds a cache
    keys: Tensor
    values: Tensor

    def __init__(self, prefilled: DynamicLayer, rows: Tensor, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        assert prefilled.keys is not None
        assert prefilled.values is not None
        self.dtype, self.device, self.is_initialized = prefilled.dtype, prefilled.device, True
        self._key_storage = _storage(prefilled.keys, rows, capacity)
        self._value_storage = _storage(prefilled.values, rows, capacity)
        self._show(prefilled.keys.shape[2])

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
        """Keep these rows: without a copy where they are the first ones."""
        if torch.equal(indices, torch.arange(len(indices), device=indices.device)):
            self._key_storage = self._key_storage[: len(indices)]
            self._value_storage = self._value_storage[: len(indices)]
        else:
            capacity = self._key_storage.shape[2]
            self._key_storage = _storage(self.keys, indices, capacity)
            self._value_storage = _storage(self.values, indices, capacity)
        self._show(self.keys.shape[2])

    def _show(self, length: int) -> None:
        self.keys, self.values = self._key_storage[:, :, :length], self._value_storage[:, :, :length]


def _storage(states: Tensor, rows: Tensor, capacity: int) -> Tensor:
    """New storage with these rows of the states at its front."""
    storage = states.new_empty((len(rows), states.shape[1], capacity, states.shape[3]))
    storage[:, :, : states.shape[2]] = states[rows]
    return storage


def spread(cache: DynamicCache, rows: Tensor, capacity: int) -> None:
    """Give each request its own row of a cache prefilled with one row a prompt, with room for `capacity` positions.

    Layers that are not plain attention over everything (sliding windows) keep their own kind and grow by copying.
    """
    layers: list[Any] = cache.layers
    for place, layer in enumerate(layers):
        if type(layer) is DynamicLayer:
            layers[place] = GrowingLayer(layer, rows, capacity)
        elif isinstance(layer, CacheLayerMixin):
            layer.batch_select_indices(rows)  # type: ignore[attr-defined]
