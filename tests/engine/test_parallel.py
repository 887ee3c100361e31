"""Batches side by side: the same digits for any number of threads, in order, and torch's setting left as it was."""

from __future__ import annotations

import threading

import pytest
import torch

from apl_bench.engine import network as network_module
from apl_bench.engine import sampling, scoring
from apl_bench.engine.parallel import map_batches
from apl_bench.types import LengthBounds
from tests.engine import tiny


def test_results_come_in_order_from_threads_that_compute_alone() -> None:
    torch.set_num_threads(2)
    met = threading.Barrier(2, timeout=60)  # broken unless two batches run at the same time

    def work(batch: int) -> tuple[int, int]:
        met.wait()
        return batch, torch.get_num_threads()

    assert map_batches(work, [0, 1, 2, 3], 2) == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert torch.get_num_threads() == 2


def test_an_error_reaches_the_caller_and_the_setting_is_restored() -> None:
    torch.set_num_threads(2)

    def work(batch: int) -> int:
        raise KeyError(batch)

    with pytest.raises(KeyError):
        map_batches(work, [1, 2], 2)
    assert torch.get_num_threads() == 2


def test_a_model_that_fills_the_caches_runs_one_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    assert tiny.network().num_workers == 2
    monkeypatch.setattr(network_module, "SMALL_BYTES", 10_000)
    assert tiny.network().num_workers == 1


@pytest.mark.parametrize("small_bytes", [0, 1 << 30])
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_samples_and_scores_do_not_depend_on_the_number_of_threads(
    kind: str, small_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_module, "SMALL_BYTES", small_bytes)
    network, texts = tiny.network(kind), tiny.sequences(30, seed=4)
    network.budgets.sampling.num_tokens, network.budgets.scoring.num_tokens = 300, 100
    draws = [sampling.Draw(prompt, LengthBounds(2, 9), (kind, row)) for row, prompt in enumerate(texts.prompts)]
    found = []
    for num_threads in (1, 2, 3):
        torch.set_num_threads(num_threads)
        drawn = sampling.sample(network, draws, sampling.Settings(0.7, (tiny.EOS,)))
        found.append((drawn, scoring.logp(network, texts).tolist()))
    assert found[0] == found[1] == found[2]
