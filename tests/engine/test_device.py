"""Memory that runs out: the budget halves, it is said, and the result stays what it was."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from apl_bench.engine import dpo, sampling, scoring, shared
from apl_bench.engine.device import TokenBudget, in_memory, is_out_of_memory, to_device
from apl_bench.engine.network import Network
from apl_bench.types import Completion, LengthBounds, Prompt, SampleRequest, SpecError
from tests.engine import tiny
from tests.engine.test_dpo import gradient_of, token_pairs

CPU_WORDS = "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
ERRORS = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(CPU_WORDS), MemoryError()]


def failing(limit: int, error: Exception, tried: list[int]) -> Any:
    """Work that doubles each row, and fails for more than `limit` rows."""

    def work(rows: Sequence[int]) -> list[int]:
        tried.append(len(rows))
        if len(rows) > limit:
            raise error
        return [2 * row for row in rows]

    return work


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_runs_in_halves(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    budget, tried = TokenBudget("sampling", 100), list[int]()
    with caplog.at_level(logging.WARNING):
        assert in_memory(budget, failing(3, error, tried))(range(10)) == [2 * row for row in range(10)]
    assert tried == [10, 5, 2, 3, 5, 2, 3]
    assert budget.num_tokens == 100 // 2 // 2 // 2
    assert "memory ran out in sampling: from now on at most 50 tokens at a time" in caplog.text


def test_threads_that_fail_together_halve_once() -> None:
    budget = TokenBudget("scoring", 100)
    budget.halve(100)
    budget.halve(100)
    assert budget.num_tokens == 50


def test_a_row_that_does_not_fit_is_said() -> None:
    with pytest.raises(SpecError, match=r"memory ran out in sampling with a single sequence.*smaller model"):
        in_memory(TokenBudget("sampling", 100), failing(0, MemoryError(), []))(range(4))


def test_other_errors_pass() -> None:
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    budget = TokenBudget("sampling", 100)
    with pytest.raises(RuntimeError, match="shapes"):
        in_memory(budget, failing(1, RuntimeError("shapes do not match"), []))(range(4))
    assert budget.num_tokens == 100


def test_arrays_arrive() -> None:
    array = np.array([[1, 2], [3, 4]])
    assert to_device(array, torch.device("cpu")).tolist() == array.tolist()


@pytest.mark.parametrize("use", ["sample", "logp", "finetune", "logp, where memory runs out"])
def test_a_policy_leaves_memory_with_its_last_user(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when Python's collector comes by: a policy may be gigabytes."""
    engine, prompt = tiny.engine(), Prompt("p", "abc")
    gc.collect()
    gc.disable()
    try:
        policy, _ = engine.finetune(engine.reference(), tiny.preferences(4), tiny.training(), (1, "training"))
        if "memory" in use:
            fail_once(monkeypatch)
        if use == "sample":
            policy.sample([SampleRequest(prompt, LengthBounds(1, 4), ("drawn",))], 1.0)
        elif use == "finetune":
            engine.finetune(policy, tiny.preferences(4), tiny.training(), (2, "training"))
        else:
            policy.logp([prompt, prompt], [Completion("de", (101, 102), False), Completion("d", (101,), False)])
        model = policy.network.model
        held = [weakref.ref(policy.network), weakref.ref(model), weakref.ref(next(model.parameters()))]
        del policy, model
        assert [ref() for ref in held] == [None, None, None]
    finally:
        gc.enable()


def fail_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batch of scores does not fit."""
    work, errors = scoring._logp_of_rows, [MemoryError()]

    def failing_once(*args: Any) -> list[float]:
        if errors:
            raise errors.pop()
        return work(*args)

    monkeypatch.setattr(scoring, "_logp_of_rows", failing_once)


def test_policies_of_an_engine_share_a_budget() -> None:
    network = tiny.network()
    assert network.copy(("twin",)).budgets is network.budgets


def test_sampling_and_scoring_give_the_same_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    network, texts = tiny.network(), tiny.sequences(400, seed=4)
    draws = [
        sampling.Draw(prompt, LengthBounds(2, 9), ("memory", row)) for row, prompt in enumerate(texts.prompts[:40])
    ]
    plain = sampling.Settings(0.7, (tiny.EOS,))
    expected = sampling.sample(network, draws, plain), scoring.logp(network, texts).tolist()
    original = network.hidden

    def hidden(ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
        if len(ids) > 17:
            raise RuntimeError(CPU_WORDS)
        return original(ids, **inputs)

    monkeypatch.setattr(network, "hidden", hidden)
    network.budgets.sampling.num_tokens = network.budgets.scoring.num_tokens = 100_000
    assert (sampling.sample(network, draws, plain), scoring.logp(network, texts).tolist()) == expected
    assert network.budgets.sampling.num_tokens < 100_000 > network.budgets.scoring.num_tokens


@pytest.mark.parametrize("make", [tiny.network, tiny.large_network])
def test_a_gradient_begins_anew_where_memory_runs_out(
    make: Callable[[str], Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass that breaks off has added to half of the gradients by then."""
    network = make("llama")
    pairs = token_pairs(network, 9)
    loss = dpo.compute_gradient(network, pairs, 0.2)
    expected = gradient_of(network)
    original = shared.logp_of_groups

    def logp_of_groups(network: Network, groups: Sequence[shared.Group]) -> torch.Tensor:
        found = original(network, groups)
        if len(groups) > 4:
            found.sum().backward()  # type: ignore[no-untyped-call]
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    monkeypatch.setattr(shared, "logp_of_groups", logp_of_groups)
    before = network.training_budget.num_tokens
    assert dpo.compute_gradient(network, pairs, 0.2) == pytest.approx(loss, abs=1e-6)
    found = gradient_of(network)
    assert (found - expected).norm() <= 1e-6 * expected.norm()
    assert network.training_budget.num_tokens < before


def test_a_pair_that_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network()
    pairs = token_pairs(network, 3)

    def logp_of_groups(network: Network, groups: Sequence[shared.Group]) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(shared, "logp_of_groups", logp_of_groups)
    with pytest.raises(SpecError, match="memory ran out in training with a single sequence"):
        dpo.compute_gradient(network, pairs, 0.2)


LIMITED = """
import resource, sys, torch
from tests.engine import tiny
from tests.engine.test_dpo import token_pairs
from apl_bench.engine import dpo
torch.set_num_threads(1)
network = tiny.network()
pairs = token_pairs(network, 400)
dpo.compute_gradient(network, pairs.take(range(8)), 0.2)
network.training_budget.num_tokens = 1_000_000
with open("/proc/self/statm") as numbers:
    space = int(numbers.read().split()[0]) * resource.getpagesize()
limit = space + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(dpo.compute_gradient(network, pairs, 0.2), network.training_budget.num_tokens)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_memory_that_really_runs_out() -> None:
    """In a process of its own, whose address space is limited to a little more than it has."""
    found = []
    for extra in (1 << 40, 12 << 20):
        command = [sys.executable, "-c", LIMITED, str(extra)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        loss, tokens = done.stdout.split()
        found.append((float(loss), int(tokens), "memory ran out" in done.stderr))
    (plain, _, said), (same, fewer, said_then) = found
    assert same == pytest.approx(plain, abs=1e-6)
    assert (said, said_then) == (False, True)
    assert fewer < 1_000_000
