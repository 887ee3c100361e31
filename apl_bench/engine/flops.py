"""Model FLOPs: the matrix products that results need, to be held against the fastest that the machine does.

2 FLOPs for each product of a weight and a number. Padding, rows computed to be thrown away, prompts that run again in
another batch, and what is computed twice to save memory are not counted, so that they show as a lower rate: the model
FLOPs of Chowdhery et al. 2022 (PaLM), appendix B, attention included, and attention only to what a token may look at.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from apl_bench.engine.network import Network
from apl_bench.engine.shared import Group
from apl_bench.types import Work

PEAK_SECONDS = 0.5  # spent on finding the machine's peak
PEAK_SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}  # of square matrices; which is fastest differs
FULL = ("full_attention", "global")  # kinds of attention layers, as configs name them
WINDOWED = {"sliding_attention": "sliding_window", "local": "window_size"}  # and where they keep the window's length


@dataclass(frozen=True, slots=True)
class Costs:
    """Numbers that one token is multiplied with: by the body's weight matrices and by adapters for each token fed, by
    the head for each token predicted. `attention`: the width of queries, summed over layers, by the number of tokens
    that they may look at (None: all). All are zero where a model has matrix products of other kinds, such as experts.
    """

    weights: int = 0
    adapters: int = 0
    head: int = 0
    attention: Mapping[int | None, int] | None = None

    @classmethod
    def of(cls, network: Network) -> Costs:
        """Counted in the modules themselves, except for attention, which its config describes."""
        weights, attention = _body_weights(network.model.base_model), _attention(network.model.config)
        if weights is None or attention is None:
            return cls()
        adapters = sum(weight.numel() for name, weight in network.parameters.items() if ".lora_" in name)
        return cls(weights, adapters, network.head.weight_VD.numel(), attention)

    def forward(self, groups: Sequence[Group]) -> Work:
        """Each prompt once, its completions behind it, the head where they are predicted."""
        return self._work(groups, 1, 1)

    def update(self, groups: Sequence[Group]) -> Work:
        """A pass forward and two back: one to the activations, one to the weights, which frozen ones do without.

        With adapters, activations are taken to need a gradient in every layer.
        """
        return self._work(groups, 2 if self.adapters else 3, 3)

    def _work(self, groups: Sequence[Group], num_weight_passes: int, num_other_passes: int) -> Work:
        num_fed = sum(group.length for group in groups)
        num_predicted = sum(len(completion) for group in groups for completion in group.completions)
        weights = self.weights * num_fed + self.head * num_predicted
        windows = (self.attention or {}).items()
        scores = sum(width * sum(_num_looks(group, window) for group in groups) for window, width in windows)
        other = self.adapters * num_fed + 2 * scores  # q k^T, and the weighted sum of v
        return Work(num_fed, 2 * (num_weight_passes * weights + num_other_passes * other))


class Meter:
    """The sum of what all policies of an engine have done."""

    def __init__(self) -> None:
        self.work = Work()

    def add(self, work: Work) -> None:
        """Count this as done."""
        self.work += work


def by_prompt(prompts: Iterable[tuple[int, ...]], completions: Iterable[tuple[int, ...]]) -> list[Group]:
    """Each different prompt with all its completions, given in parallel."""
    groups: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for prompt, completion in zip(prompts, completions, strict=True):
        groups.setdefault(prompt, []).append(completion)
    return [Group(prompt, tuple(after)) for prompt, after in groups.items()]


def _num_looks(group: Group, window: int | None) -> int:
    """Tokens that the group's tokens look at, each at itself, its completion and its prompt, added up."""
    prompt = _num_causal(len(group.prompt), window)
    ends = (len(group.prompt) + max(0, len(completion) - 1) for completion in group.completions)
    return prompt + sum(_num_causal(end, window) - prompt for end in ends)


def _num_causal(length: int, window: int | None) -> int:
    """Tokens that those of a sequence look at, added up: 1 for the first, 2 for the second, `window` at most."""
    growing = length if window is None else min(length, window)
    return growing * (growing + 1) // 2 + (length - growing) * growing


def _body_weights(body: Any) -> int | None:
    """Entries of the matrices that every token is multiplied with, adapters left out; None where there are others."""
    linear = {name for name, module in body.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))}
    looked_up = {name for name, module in body.named_modules() if isinstance(module, torch.nn.Embedding)}
    total = 0
    for name, weight in body.named_parameters():
        module = name.rpartition(".")[0]
        if weight.ndim < 2 or ".lora_" in name or module in looked_up:
            continue
        if module not in linear or "expert" in name:
            return None
        total += weight.numel()
    return total


def _attention(config: Any) -> dict[int | None, int] | None:
    """Heads x head size, summed over the layers of each window; None where there is attention of another kind."""
    config = config.get_text_config()
    num_heads = getattr(config, "num_attention_heads", None)
    if num_heads is None:
        return None
    width = num_heads * (getattr(config, "head_dim", None) or config.hidden_size // num_heads)
    plain = "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    widths: dict[int | None, int] = {}
    for kind in kinds or [plain] * config.num_hidden_layers:
        if kind not in FULL and kind not in WINDOWED:
            return None
        window = None if kind in FULL else getattr(config, WINDOWED[kind])
        widths[window] = widths.get(window, 0) + width
    return widths


def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """GFLOP/s of the fastest of several square matrix products, with torch's threads as they are set.

    Takes about PEAK_SECONDS, leaves torch's random numbers alone, and on CUDA lets torch's record of the most memory
    held begin anew, so that it has no part in it.
    """
    best = _fastest(device, dtype)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return best


@torch.inference_mode()
def _fastest(device: torch.device, dtype: torch.dtype) -> float:
    sizes, best = PEAK_SIZES[device.type], 0.0
    generator = torch.Generator(device).manual_seed(0)  # not zeros, on which a GPU draws less power and runs faster
    matrices = [torch.randn(2, size, size, generator=generator, device=device).to(dtype) for size in sizes]
    products = [torch.empty_like(matrix[0]) for matrix in matrices]
    num_rounds, until = 0, time.perf_counter() + PEAK_SECONDS
    while num_rounds < 2 or time.perf_counter() < until:  # the first round warms up
        for (left, right), product in zip(matrices, products, strict=True):
            seconds = _seconds_of_product(left, right, product)
            best = max(best, 2 * len(left) ** 3 / seconds / 1e9)
        num_rounds += 1
    return best


def _seconds_of_product(left: torch.Tensor, right: torch.Tensor, product: torch.Tensor) -> float:
    _wait(left.device)
    since = time.perf_counter()
    torch.mm(left, right, out=product)
    _wait(left.device)
    return time.perf_counter() - since


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
