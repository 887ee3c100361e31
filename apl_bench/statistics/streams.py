"""Random numbers that are a function of the data: everybody who has the same outcomes gets the same digits."""

from __future__ import annotations

import hashlib

import numpy as np


def keyed_generator(*data: np.ndarray) -> np.random.Generator:
    """A generator keyed by the sha256 of these arrays' shapes and values."""
    digest = hashlib.sha256()
    for array in data:
        digest.update(repr(array.shape).encode())
        digest.update((np.ascontiguousarray(array, dtype="<f8") + 0.0).tobytes())  # + 0: one zero, not two
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest()[:16], "big")))
