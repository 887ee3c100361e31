"""What a device can hold at a time, what happens when that was too much, and how arrays get there."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from apl_bench.types import SpecError

Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)
_CPU_MESSAGES = ("can't allocate memory", "not enough memory")  # torch's own words for it on a CPU


@dataclass(eq=False)
class TokenBudget:
    """Tokens, padding included, that one kind of work holds at a time: half as many each time that memory runs out."""

    work: str
    num_tokens: int
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def halve(self, seen: int) -> None:
        """Halve it, once for all threads that failed at `seen` tokens, say so, and let go of what can be let go of."""
        with self._lock:
            if self.num_tokens == seen:
                self.num_tokens = max(1, seen // 2)
                _LOG.warning(
                    "memory ran out in %s: from now on at most %d tokens at a time; the result is the same, up to "
                    "rounding",
                    self.work, self.num_tokens,
                )  # fmt: skip
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@dataclass(slots=True)
class Budgets:
    """One budget for each kind of work, shared by all policies of an engine; how large they are: footprint.py."""

    sampling: TokenBudget
    scoring: TokenBudget
    training: TokenBudget | None = None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python could not get memory."""
    words = isinstance(error, RuntimeError) and any(message in str(error) for message in _CPU_MESSAGES)
    return words or isinstance(error, (MemoryError, torch.OutOfMemoryError))


def too_large(budget: TokenBudget) -> SpecError:
    """The error for a single sequence that does not fit."""
    return SpecError(f"memory ran out in {budget.work} with a single sequence at a time; expected room for that. "
                     "Choose a smaller model, shorter prompts or completions, [lora] in place of all weights, or a "
                     "device with more memory")  # fmt: skip


def in_memory(
    budget: TokenBudget, work: Callable[[Sequence[int]], Sequence[Result]]
) -> Callable[[Sequence[int]], Sequence[Result]]:
    """`work`, which gives a result for each row, in two halves wherever memory runs out for the whole."""

    def run(rows: Sequence[int]) -> Sequence[Result]:  # not recursive: a closure that holds itself outlives its use
        found: list[Result] = []
        waiting = [rows]
        while waiting:
            part, seen = waiting.pop(), budget.num_tokens
            try:
                found += work(part)
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise too_large(budget) from error
            budget.halve(seen)  # out here, where the failed attempt's tensors are no longer held by the error
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]
        return found

    return run


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """The array's numbers on the device; to a GPU through pinned memory, so that nobody waits."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
