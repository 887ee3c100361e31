"""What is shared changes no byte of a result, and is computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apl_bench.comparison.costs import counted
from apl_bench.experiment import prepare
from apl_bench.protocols import Engine
from apl_bench.spec import RunSpec
from apl_bench.sweep.cells import Cell
from apl_bench.sweep.sharing import SharedPolicy, SharingEngine
from apl_bench.sweep.store import Store
from apl_bench.sweep.worker import End, Worker
from apl_bench.types import Completion, LengthBounds, Preference, Prompt, Sample, SampleRequest, TrainingReport, Work
from tests.sweep.conftest import Alone
from tests.sweep.tiny import cell, orders, work, written

STRATEGIES = ("random", "certainty", "uncertainty", "offline", "entropy+certainty")


def grid(root: Path) -> list[Cell]:
    return [*(cell(root, name, 0) for name in STRATEGIES), cell(root, "certainty", 1)]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The grid as one worker ran it with a store, from its first cell to its last; below it `shared`, the store."""
    root = tmp_path_factory.mktemp("together")
    outcomes = work(Worker(orders(root / "ledger", root / "shared")), grid(root))
    assert {outcome.end for outcome in outcomes} == {End.DONE}, outcomes
    return root


def by_itself(alone: Alone, each: Cell) -> dict[str, bytes]:
    """What this cell comes to without a store."""
    return written(alone(each.spec.strategy.name, each.spec.seed).path)


def test_sharing_changes_no_byte(alone: Alone, together: Path) -> None:
    for each in grid(together):
        assert written(each.path) == by_itself(alone, each), each.name
    num_weights = sum(1 for _ in (together / "shared").rglob("*.safetensors"))
    assert num_weights < len(grid(together)), "theta_1 was never the same"


def test_whoever_comes_first(alone: Alone, tmp_path: Path) -> None:
    worker = Worker(orders(tmp_path / "ledger", tmp_path / "shared"))
    # entropy+certainty draws for all prompts what random draws for a few
    cells = [grid(tmp_path)[place] for place in (4, 0, 1)]
    work(worker, cells)
    for each in cells:
        assert written(each.path) == by_itself(alone, each), each.name


def test_the_second_of_two_alike_computes_nothing_of_step_1(together: Path) -> None:
    """`certainty` and `uncertainty` differ from step 2 on: up to theta_1's evaluation nothing is left to compute but
    the scores by which the first of them chooses. What they share with `random` is theta_1."""
    alike = grid(together)[:3]
    random, certainty, uncertainty = (sum(sum(event["tokens"].values()) for event in begun(each)) for each in alike)
    assert random > certainty > 0
    assert uncertainty == 0
    trained = [next(event for event in begun(each) if event["event"] == "trained") for each in alike]
    told = ("num_updates", "num_tokens", "first_epoch_loss", "last_epoch_loss")
    assert trained[0]["num_tokens"] > 0
    assert [[event[name] for name in told] for event in trained[1:]] == [[trained[0][name] for name in told]] * 2
    assert [sum(event["tokens"].values()) for event in trained[1:]] == [0, 0]


def test_what_was_spared_is_what_the_run_would_have_done(alone: Alone, together: Path) -> None:
    """Tokens and FLOPs of each stage of each event, done and spared together, are those of a run on its own."""
    num_spared = 0
    for sharing in grid(together):
        apart = alone(sharing.spec.strategy.name, sharing.spec.seed)
        for expected, event in zip(apart.run.events(), sharing.run.events(), strict=True):
            assert "spared" not in expected
            assert counted(event, "tokens") == expected["tokens"], (sharing.name, event)
            assert counted(event, "gflop") == pytest.approx(expected["gflop"], abs=2e-6), (sharing.name, event)
            num_spared += sum(event.get("spared", {}).get("tokens", {}).values())
    assert num_spared > 0


def begun(each: Cell) -> list[dict[str, Any]]:
    """The events of a run up to the evaluation of theta_1."""
    events = each.run.events()
    places = [place for place, event in enumerate(events) if event["event"] == "waypoint"]
    return events[: places[1] + 1]


def test_a_run_that_goes_on_shares_what_it_may(alone: Alone, tmp_path: Path) -> None:
    """Killed after step 1, in a store that others filled: theta_1 comes from the run, opponents from the store."""
    worker = Worker(orders(tmp_path / "ledger", tmp_path / "shared"))
    work(worker, grid(tmp_path)[:1])
    stopped = cell(tmp_path / "half", "uncertainty", 0)
    with pytest.raises(KeyboardInterrupt):
        stop_after(worker, stopped, "committed")
    assert len(list((stopped.path / "state").iterdir())) == 1
    assert [outcome.end for outcome in work(worker, [stopped])] == [End.DONE]
    assert written(stopped.path) == by_itself(alone, stopped)


def stop_after(worker: Worker, stopped: Cell, event: str) -> None:
    """Run the cell until it tells of this event."""
    from apl_bench.journal import Journal

    emit = Journal._emit

    def stopping(journal: Journal, kind: str, **fields: object) -> None:
        emit(journal, kind, **fields)
        if kind == event:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "_emit", stopping)
        work(worker, [stopped])


def test_what_was_altered_is_refused_and_computed_again(alone: Alone, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    work(Worker(orders(tmp_path / "ledger", shared)), grid(tmp_path)[:1])
    blocks, weights = sorted(shared.rglob("*.json")), sorted(shared.rglob("*.safetensors"))
    for path in blocks:  # but for the one that says what the weights are
        if b"epoch_losses" not in path.read_bytes():
            path.write_bytes(path.read_bytes().replace(b"true", b"false").replace(b"-", b"-1", 3))
    weights[0].write_bytes(weights[0].read_bytes()[:-4] + b"\0\0\0\1")
    (outcome,) = work(Worker(orders(tmp_path / "ledger", shared)), grid(tmp_path)[1:2])
    assert outcome.end is End.DONE
    refused = {notice.split()[0] for notice in outcome.notices}
    assert len(refused) > 3, "completions, log-probabilities and weights"
    assert str(weights[0]) in refused
    second = grid(tmp_path)[1]
    assert written(second.path) == by_itself(alone, second)


def test_another_threads_another_seed_another_setting_has_another_name(tmp_path: Path) -> None:
    """Nothing of one is taken for the other's."""
    spec = cell(tmp_path, "random", 0).spec
    prompt = Prompt("p", "This film was")
    base = SampleRequest(prompt, LengthBounds(4, 8), (0, "test", "p", 0))
    seen = []
    for request, temperature in (
        (base, 0.7),
        (base, 0.8),
        (SampleRequest(prompt, LengthBounds(4, 9), base.stream), 0.7),
        (SampleRequest(prompt, base.bounds, (1, "test", "p", 0)), 0.7),
        (SampleRequest(prompt, base.bounds, (0, "test", "p", 1)), 0.7),
        (SampleRequest(Prompt("p", "That film was"), base.bounds, base.stream), 0.7),
    ):
        engine, counted = counting(spec, tmp_path / "shared")
        engine.reference().sample([request], temperature)
        seen.append(counted.num_sampled)
    assert seen == [1] * 6
    engine, counted = counting(spec, tmp_path / "shared")
    engine.reference().sample([base], 0.7)
    assert counted.num_sampled == 0
    other = cell(tmp_path, "random", 0, "policy.num_threads=2").spec
    engine, counted = counting(other, tmp_path / "shared")
    engine.reference().sample([base], 0.7)
    assert counted.num_sampled == 1


def test_where_batches_change_digits_only_whole_calls_are_shared(tmp_path: Path) -> None:
    spec = cell(tmp_path, "random", 0).spec
    requests = [SampleRequest(Prompt(f"p{i}", f"Film {i}"), LengthBounds(2, 4), (0, "test", i, 0)) for i in range(3)]
    engine, _ = counting(spec, tmp_path / "shared", any_batch=False)
    whole = engine.reference().sample(requests, 1.0)
    engine, counted = counting(spec, tmp_path / "shared", any_batch=False)
    assert engine.reference().sample(requests, 1.0) == whole
    assert counted.num_sampled == 0
    engine.reference().sample(requests[:2], 1.0)
    assert counted.num_sampled == 2
    prompts, completions = [request.prompt for request in requests], [sample.completion for sample in whole]
    engine.reference().logp(prompts, completions)
    engine.reference().logp(prompts, completions)
    assert counted.num_scored == 6, "a log-probability that is remembered would change what is scored with what"


class Counting:
    """A policy that writes a word and counts how often it is asked."""

    def __init__(self) -> None:
        self.num_sampled = self.num_scored = 0
        self.tokenizer = None

    def sample(self, requests: list[SampleRequest], temperature: float) -> list[Sample]:
        self.num_sampled += len(requests)
        return [Sample(Completion(" good", (3,), True), -0.1 * temperature) for _ in requests]

    def logp(self, prompts: list[Prompt], completions: list[Completion]) -> np.ndarray:
        self.num_scored += len(completions)
        return np.full(len(completions), -0.5)

    def sampling_work(self, prompts: list[Prompt], completions: list[Completion]) -> Work:
        return Work(len(completions))

    scoring_work = sampling_work

    def remember(self, *_arguments: object) -> None:
        pass


class CountingEngine:
    """Has theta_0 alone."""

    def __init__(self, any_batch: bool, num_threads: int) -> None:
        self.policy, self.any_batch, self.num_threads = Counting(), any_batch, num_threads

    def reference(self) -> Counting:
        return self.policy

    def identity(self) -> dict[str, object]:
        return {"weights_sha256": "0", "num_threads": self.num_threads}

    def finetune(self, *_arguments: object) -> tuple[Counting, TrainingReport]:
        return Counting(), TrainingReport((0.5,), 1, 1)

    def work(self) -> Work:
        return Work(self.policy.num_sampled + self.policy.num_scored)

    def forget(self) -> None:
        pass

    def save(self, _policy: object, path: Path) -> None:
        path.write_bytes(b"weights")

    def load(self, _path: Path) -> Counting:
        return Counting()


def counting(spec: RunSpec, shared: Path, any_batch: bool = True) -> tuple[SharingEngine, Counting]:
    engine = CountingEngine(any_batch, spec.policy.num_threads)
    return SharingEngine(engine, Store(shared, 1 << 20), spec), engine.policy  # type: ignore[arg-type]


def test_nothing_of_later_policies_is_stored(tmp_path: Path) -> None:
    """They have no equals; nor has what theta_0 says of what they wrote, but for the opponents' completions."""
    spec, prompt, good = cell(tmp_path, "random", 0).spec, Prompt("p", "A film"), Completion(" good", (3,), True)
    bought = [Preference(prompt, good, Completion(" bad", (4,), True), 1)]
    engine, theta_0 = counting(spec, tmp_path / "shared")
    theta = engine.reference()
    for step, shares in ((1, True), (2, False), (3, False)):
        theta, _ = engine.finetune(engine.reference(), bought, spec.training, (0, "training", step))
        assert isinstance(theta, SharedPolicy) is shares
        before = theta_0.num_scored
        for _ in range(2):
            engine.reference().logp([prompt], [Completion(f" {step}", (step,), True)])
        assert theta_0.num_scored - before == (1 if shares else 2)
    for stream, num in (((0, "test", "p", 1), 1), ((0, "completion", 3, "p", 0), 2)):
        before = theta_0.num_sampled
        for _ in range(2):
            engine.reference().sample([SampleRequest(prompt, LengthBounds(2, 4), stream)], 1.0)
        assert theta_0.num_sampled - before == num
    engine.forget()
    engine.load(tmp_path)
    theta, _ = engine.finetune(engine.reference(), bought, spec.training, (0, "training", 1))
    assert not isinstance(theta, SharedPolicy), "after a run was gone on with nobody knows which step this is"


def test_a_small_model_on_a_cpu_may_be_asked_in_any_batch(tmp_path: Path) -> None:
    """What the promise of `any_batch` is worth: subsets, another order, and behind others, to the last bit."""
    kept: list[Engine] = []

    def keep(engine: Engine) -> Engine:
        kept.append(engine)
        return engine

    materials = prepare(cell(tmp_path, "random", 0).spec, keep)
    (engine,) = kept
    assert engine.any_batch
    requests = [
        SampleRequest(prompt, materials.task.bounds(prompt), (0, "test", prompt.id, 0)) for prompt in materials.test
    ]
    whole = engine.reference().sample(requests, 0.7)
    some = engine.reference().sample(requests[7:2:-2], 0.7)
    assert some == whole[7:2:-2]
    prompts, completions = [request.prompt for request in requests], [sample.completion for sample in whole]
    logp = engine.reference().logp(prompts, completions)
    engine.forget()
    again = engine.reference().logp(prompts[::-3], completions[::-3])
    assert again.tobytes() == logp[::-3].tobytes()
