"""How sequences are padded and batched, so that a sequence's result is a function of that sequence alone.

Floating-point sums depend on the shapes of the kernels that make them. Two rules take the batch out of a row's shapes:
the padded length is a function of the sequence's own length, and no matrix product has fewer than `min_rows` rows.
(Above that a CPU's matrix products give a row the same bits whatever the number of rows; below, they switch kernels.
On CUDA that is not so, and results may differ in the last bits between batches.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

Item = TypeVar("Item")
Key = TypeVar("Key", int, tuple[int, int])


def padded_length(length: int, limit: int, least_step: int) -> int:
    """The length that a sequence of `length` tokens is padded to, `limit` at most.

    It is the next multiple of `least_step`, or of a larger power of 2 that adds an eighth at most.
    """
    step = max(least_step, 1 << max(0, length.bit_length() - 4))
    return max(length, min(limit, -(-length // step) * step))


def min_rows(num_threads: int) -> int:
    """Rows that a matrix product needs for each thread to get eight; twice that on one thread."""
    return max(16, 8 * num_threads)


def group_by(keys: Sequence[Key]) -> list[list[int]]:
    """Indices of equal keys, each group in input order, groups in key order."""
    groups: dict[Key, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    return [groups[key] for key in sorted(groups)]


def split_evenly(items: Sequence[int], limit: int) -> list[Sequence[int]]:
    """The items in as few runs of at most `limit` as there can be, of sizes that differ by at most one."""
    num_runs = -(-len(items) // max(1, limit))
    edges = [len(items) * run // num_runs for run in range(num_runs + 1)] if num_runs else []
    return [items[start:stop] for start, stop in pairwise(edges)]


def fill_up(items: Sequence[Item], size: int) -> list[Item]:
    """The items, then the last one again until there are `size`: rows that are computed and thrown away."""
    return [*items, *[items[-1]] * (size - len(items))]
