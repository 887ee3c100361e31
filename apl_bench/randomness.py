"""One named random stream for each purpose, step and prompt; nothing draws from a global generator.

A stream's name is a tuple such as (seed, "completion", step, prompt id, k). Its hash keys a counter-based generator
(Philox), so a draw depends on its name alone: not on batch size, order, or what else was drawn before.
Paper: one generator for all, so that a completion depends on what was drawn before it, and no two arms share any.
"""

from __future__ import annotations

import hashlib
import json
from typing import TypeAlias

import numpy as np

StreamName: TypeAlias = tuple[int | str, ...]


def stream(*name: int | str) -> np.random.Generator:
    """The generator called `name`; calling again starts it over."""
    digest = hashlib.sha256(json.dumps(name).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def uniforms(names: list[StreamName], num_draws: int) -> np.ndarray:
    """Uniform draws in [0, 1) of shape (len(names), num_draws); row i is the start of stream `names[i]`."""
    return np.stack([stream(*name).random(num_draws) for name in names]) if names else np.empty((0, num_draws))


def unit_interval(key: str, *texts: str) -> float:
    """One number in [0, 1) for these texts under this key (at most 64 bytes): blake2b's first 53 bits.

    For noise that belongs to a text rather than to a run: the same in every process and at every retry.
    """
    return (int.from_bytes(keyed_digest(key, 8, *texts), "big") >> 11) / 2**53


def keyed_digest(key: str, num_bytes: int, *texts: str) -> bytes:
    """blake2b of the texts under a key, each with its length before it, so that no two lists of texts are alike."""
    digest = hashlib.blake2b(digest_size=num_bytes, key=key.encode())
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()
