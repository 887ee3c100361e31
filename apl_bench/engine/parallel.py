"""Batches side by side on a CPU: each on one thread from beginning to end, several at a time.

Small matrix products gain little from a second thread, two batches gain all of it. And since no sum is ever split
between threads, a batch's digits don't depend on how many there are. A model that does not stay in the cores' caches
is another matter: two batches read all its weights twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def map_batches(work: Callable[[Batch], Result], batches: Sequence[Batch], num_workers: int) -> list[Result]:
    """work(batch) for each batch, in order; the first error is raised. One worker has all of torch's threads."""
    if num_workers == 1:
        return [work(batch) for batch in batches]
    num_threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(num_workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, batches))
    finally:
        torch.set_num_threads(num_threads)  # a worker's setting is also what later threads begin with
