"""The sampling loop: each token is the inverse CDF of its distribution at a uniform number from the request's stream.

Letters: R rows of a batch, L padded prompt length, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from apl_bench.engine.batching import fill_up, group_by, min_rows, padded_length, split_evenly
from apl_bench.engine.device import in_memory, to_device
from apl_bench.engine.network import Network
from apl_bench.engine.parallel import map_batches
from apl_bench.engine.prefill import Part, State, feed, go_on, prefill
from apl_bench.randomness import uniforms
from apl_bench.types import LengthBounds

# Prompts are padded to multiples of these while they run, for a small model and for a large one.
LENGTH_STEP, LARGE_LENGTH_STEP = 16, 32
# In its batch a large model's prompt has a place of a power of 2 up to the first, else of a multiple of the second, so
# that batches are few: rows that share a batch share every step, and each step reads all weights.
SHORT_PROMPT, LONG_PROMPT_STEP = 64, 256
BLOCK = 128  # tokens whose probabilities are added up together before one of them is looked for
COMPACT_BELOW = 0.75  # rows are copied together when fewer than this share are still being drawn
DROP_EVERY = {"cpu": 1, "cuda": 8}  # tokens; to see who is done, a GPU would have to be waited for at each


@dataclass(frozen=True, slots=True)
class Draw:
    """One completion to draw: the prompt's tokens, how long it may get, and the name of its random numbers."""

    prompt: tuple[int, ...]
    bounds: LengthBounds
    stream: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A completion's tokens (the EOS that ended it included) and their log-probability at temperature 1, nats."""

    tokens: tuple[int, ...]
    finished: bool
    logp: float


@dataclass(frozen=True, slots=True)
class Settings:
    """The temperature, and the tokens that end a completion."""

    temperature: float
    eos_ids: tuple[int, ...]


def sample(network: Network, draws: Sequence[Draw], settings: Settings) -> list[Drawn]:
    """One completion for each draw, in order.

    On a CPU a completion does not depend on the other draws, their order, or the number of threads.
    """
    lengths = [_place_for(network, len(draw.prompt)) for draw in draws]
    batches: list[Sequence[int]] = []

    def order(index: int) -> tuple[int, int]:
        """Completions that may get longest first, and among them prompts of one padded length together."""
        return -draws[index].bounds.max_new_tokens, _padded(network, len(draws[index].prompt))

    for group in group_by(lengths):
        longest_first = sorted(group, key=order)
        capacity = lengths[group[0]] + draws[longest_first[0]].bounds.max_new_tokens
        batches += split_evenly(longest_first, network.budgets.sampling.num_tokens // capacity)

    def work(places: Sequence[int]) -> list[Drawn]:
        return _sample_batch(network, [draws[place] for place in places], settings, lengths[places[0]])

    drawn: dict[int, Drawn] = {}
    careful = in_memory(network.budgets.sampling, work)
    for places, results in zip(batches, map_batches(careful, batches, network.num_workers), strict=True):
        drawn.update(zip(places, results, strict=True))
    return [drawn[index] for index in range(len(draws))]


def _padded(network: Network, length: int) -> int:
    """What a prompt of this length is padded to while it runs, in whatever batch it is."""
    if network.is_small:
        return padded_length(length, network.max_length, LENGTH_STEP)
    if not network.has_plain_cache:
        return _place_for(network, length)
    return padded_length(length, network.max_length, LARGE_LENGTH_STEP)


def _place_for(network: Network, length: int) -> int:
    """The positions that it has in its batch once it has run: as many, or more."""
    if network.is_small:
        return _padded(network, length)
    power = max(LARGE_LENGTH_STEP, 1 << (length - 1).bit_length())
    place = power if power <= SHORT_PROMPT else padded_length(length, network.max_length, LONG_PROMPT_STEP)
    return max(length, min(network.max_length, place))


@torch.inference_mode()
def _sample_batch(network: Network, draws: Sequence[Draw], settings: Settings, length: int) -> list[Drawn]:
    """The draws, longest first, of prompts that have a place of `length` each."""
    batch = fill_up(draws, min_rows(torch.get_num_threads()))
    return _Loop(network, batch, settings).run(length)[: len(draws)]


@torch.inference_mode()
def inverse_cdf(scores_RV: Tensor, uniform_R: Tensor) -> Tensor:
    """The first token at which the cumulative softmax of the scores exceeds the uniform number, shape (R,).

    Found in two steps, the block of BLOCK tokens and the token in it, so that only block sums are accumulated over the
    vocabulary. A token of score -inf is never drawn, whatever the rounding.
    """
    weights = (scores_RV - scores_RV.amax(dim=1, keepdim=True)).exp_()
    weights_RBT = torch.nn.functional.pad(weights, (0, -weights.shape[1] % BLOCK)).view(len(weights), -1, BLOCK)
    cdf_RB = weights_RBT.sum(dim=2, dtype=torch.float64).cumsum(dim=1)
    threshold_R = uniform_R * cdf_RB[:, -1]
    block_R = _first_above(cdf_RB, threshold_R)
    row_R = torch.arange(len(weights), device=weights.device)
    before_R = torch.where(block_R > 0, cdf_RB[row_R, block_R - 1], 0.0)
    within_RT = weights_RBT[row_R, block_R].cumsum(dim=1, dtype=torch.float64)
    return block_R * BLOCK + _first_above(within_RT, threshold_R - before_R)


def _first_above(cdf_RN: Tensor, threshold_R: Tensor) -> Tensor:
    """Where each row first exceeds its threshold, or reaches its end value if rounding left that below."""
    end = cdf_RN[:, -1]
    below_end = torch.minimum(threshold_R, torch.nextafter(end, torch.zeros_like(end)))
    return torch.searchsorted(cdf_RN, below_end[:, None], right=True)[:, 0]


@dataclass(slots=True)
class _Rows:
    """The rows still in the batch; `draw_R` says which draw each belongs to."""

    draw_R: Tensor
    state: State

    def keep(self, rows: Tensor) -> None:
        """Drop all other rows."""
        self.draw_R = self.draw_R[rows]
        self.state.keep(rows)


class _Loop:
    """A batch of draws, longest first. Rows that are done run on until they are dropped; what they draw is not used."""

    def __init__(self, network: Network, draws: Sequence[Draw], settings: Settings) -> None:
        self._network, self._draws, self._settings = network, draws, settings
        self._num_steps = draws[0].bounds.max_new_tokens
        bounds = np.array([(draw.bounds.min_new_tokens, draw.bounds.max_new_tokens) for draw in draws])
        self._uniform = to_device(uniforms([draw.stream for draw in draws], self._num_steps), network.device)
        self._bounds = to_device(bounds, network.device)
        self._eos = torch.tensor(settings.eos_ids, dtype=torch.int64, device=network.device)
        self._tokens = torch.zeros((len(draws), self._num_steps), dtype=torch.int64, device=network.device)
        self._logps = torch.zeros((len(draws), self._num_steps), dtype=torch.float64, device=network.device)
        self._length = torch.zeros(len(draws), dtype=torch.int64, device=network.device)

    def run(self, length: int) -> list[Drawn]:
        """What each draw came to, in order."""
        state = go_on(self._parts(), len(self._draws), length, self._num_steps)
        rows = _Rows(torch.arange(len(self._draws), device=self._network.device), state)
        for step in range(self._num_steps):
            self._draw(rows, step)
            if step + 1 == self._num_steps:
                break
            if step % DROP_EVERY[self._network.device.type] == 0 and not self._drop(rows):
                break
            self._advance(rows, step)
        return self._results()

    def _parts(self) -> Iterator[Part]:
        """The prompts of each padded length, which have run."""
        lengths = [_padded(self._network, len(draw.prompt)) for draw in self._draws]
        for rows in group_by(lengths):
            prompts = [self._draws[row].prompt for row in rows]
            yield Part(prefill(self._network, prompts, lengths[rows[0]]), prompts, rows)

    def _draw(self, rows: _Rows, step: int) -> None:
        """Draw each row's next token, and note the rows that it ends."""
        logits = self._network.head.logits(rows.state.hidden_RD)
        tokens = inverse_cdf(self._scores(logits, rows, step), self._uniform[rows.draw_R, step])
        logps = logits.gather(1, tokens[:, None])[:, 0] - torch.logsumexp(logits, dim=1)
        self._tokens[rows.draw_R, step] = tokens
        self._logps[rows.draw_R, step] = logps.double()
        ends = torch.isin(tokens, self._eos) | (self._bounds[rows.draw_R, 1] <= step + 1)
        ended = rows.draw_R[ends & (self._length[rows.draw_R] == 0)]
        self._length[ended] = step + 1

    def _scores(self, logits: Tensor, rows: _Rows, step: int) -> Tensor:
        """Logits at the temperature, with EOS out of reach of rows that would get too short."""
        scores = logits / self._settings.temperature
        too_short = self._bounds[rows.draw_R, 0] > step + 1
        scores[:, self._eos] = scores[:, self._eos].masked_fill(too_short[:, None], -torch.inf)
        return scores

    def _drop(self, rows: _Rows) -> bool:
        """Drop rows that are done where that is free (they come last) or many are; False when all are done."""
        alive = self._length[rows.draw_R] == 0
        num_alive, num_rows = int(alive.sum()), len(alive)
        if num_alive == 0:
            return False
        num_kept = max(num_alive, min(num_rows, min_rows(torch.get_num_threads())))
        come_first = bool(alive[:num_alive].all())
        if num_kept < num_rows and (come_first or num_alive < COMPACT_BELOW * num_rows):
            rows.keep(torch.argsort(alive, descending=True, stable=True)[:num_kept])
        return True

    def _advance(self, rows: _Rows, step: int) -> None:
        """Feed the tokens just drawn."""
        state = rows.state
        state.hidden_RD = feed(self._network, state, self._tokens[rows.draw_R, step, None])[:, -1]
        state.position_R = state.position_R + 1

    def _results(self) -> list[Drawn]:
        arrays = zip(self._tokens.tolist(), self._logps.cpu().numpy(), self._length.tolist(), strict=True)
        results = []
        for tokens, logps, length in arrays:
            finished = tokens[length - 1] in self._settings.eos_ids
            results.append(Drawn(tuple(tokens[:length]), finished, float(logps[:length].sum())))
        return results
