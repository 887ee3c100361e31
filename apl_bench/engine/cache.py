"""Keys and values of the sampling loop, in storage that is allocated once for each batch.

transformers' own dynamic cache copies everything seen so far at every token (`torch.cat`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer


class GrowingLayer(DynamicLayer):
    """One layer's keys and values, shape (rows, heads, length, head size): a view of storage with room for `capacity` positions."""

    def __init__(self, prefilled: DynamicLayer, rows: Tensor, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self.dtype, self.device, self.is_initialized = prefilled.dtype, prefilled.device, True
        self._take(prefilled.keys, prefilled.values, rows)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
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
            self._key_storage, self._value_storage = self._key_storage[: len(indices)], self._value_storage[: len(indices)]
            self._show(self.keys.shape[2])
        else:
            self._take(self.keys, self.values, indices)

    def _take(self, keys: Tensor, values: Tensor, rows: Tensor) -> None:
        length = keys.shape[2]
        self._key_storage = keys.new_empty((len(rows), keys.shape[1], self._capacity, keys.shape[3]))
        self._value_storage = values.new_empty((len(rows), values.shape[1], self._capacity, values.shape[3]))
        self._key_storage[:, :, :length] = keys[rows]
        self._value_storage[:, :, :length] = values[rows]
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = self._key_storage[:, :, :length], self._value_storage[:, :, :length]


def spread(cache: DynamicCache, rows: Tensor, capacity: int) -> None:
    """Give each request its own row of a cache prefilled with one row a prompt, with room for `capacity` positions.

    Layers that are not plain attention over everything (sliding windows) keep their own kind and grow by copying.
    """
    for place, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[place] = GrowingLayer(layer, rows, capacity)
        else:
            layer.batch_select_indices(rows)
