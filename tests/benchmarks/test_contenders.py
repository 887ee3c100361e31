"""Contenders that are compared do the same work, on shapes of the stated means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch

from apl_bench.acquisition import acquire
from apl_bench.benchmarks import networks, peers, sampling, shapes, step, step_by_hand, suites, training
from apl_bench.benchmarks.plan import Turn, interleave, top_operators
from apl_bench.engine import scoring
from apl_bench.engine.huggingface import HuggingFaceEngine
from apl_bench.judgments.ledger import Ledger
from tests.benchmarks import tiny

KINDS = [tiny.llama, tiny.gpt2]


@pytest.mark.parametrize("name", suites.SHAPES)
def test_the_shapes_are_those_that_are_named_and_their_means_are_the_stated_ones(name: str) -> None:
    assert tuple(shapes.SHAPES) == suites.SHAPES
    shape = shapes.SHAPES[name]()
    pairs = shapes.pairs(shape, shape.num_pairs)
    means = [np.mean([len(tokens) for tokens in side]) for side in (pairs.prompts, pairs.chosen, pairs.rejected)]
    expected = {"lite": (12, 20), "smollm2-imdb": (12, 20), "smollm2-tldr": (200, 40), "smollm2-longest": (200, 128)}
    assert shape.name == name
    assert means == pytest.approx([expected[name][0], expected[name][1], expected[name][1]])
    assert {sum(map(len, {draw.prompt for draw in shapes.draws(shape, 2, own)})) for own in (True, False)} == {
        shape.num_prompts * expected[name][0]
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_dpo_epoch_is_the_same_for_all_three(kind: Callable[[], shapes.Shape]) -> None:
    turns = {name: cast("Turn", work()) for name, work in training.contenders(kind()).items()}
    (ours, *others) = turns.values()
    assert len(others) == 2
    assert ours.num_updates == 2
    assert abs(ours.loss - np.log(2)) > 5e-4  # the policy is not the reference: else all losses would be this
    for other in others:
        assert (other.num_tokens, other.num_updates) == (ours.num_tokens, ours.num_updates)
        assert other.loss == pytest.approx(ours.loss, abs=1e-5)


def test_a_second_epoch_of_each_begins_where_the_first_did() -> None:
    for work in training.contenders(tiny.llama()).values():
        assert cast("Turn", work()).loss == pytest.approx(cast("Turn", work()).loss, abs=1e-7)


@pytest.mark.parametrize("num_each", sampling.NUM_EACH)
def test_both_sample_as_many_tokens(num_each: int) -> None:
    shape = tiny.llama()
    draws = shapes.draws(shape, num_each, own_maximum=False)
    ours, theirs = (cast("Turn", work()) for work in sampling.contenders(shape, draws, num_each).values())
    most = 4 * num_each * shape.lengths.mean_completion
    assert ours.num_tokens == theirs.num_tokens == most


def test_with_maxima_of_their_own_ours_draws_no_token_beyond_them() -> None:
    shape = tiny.llama()
    draws = shapes.draws(shape, 2, own_maximum=True)
    ours, theirs = (cast("Turn", work()) for work in sampling.contenders(shape, draws, 2).values())
    assert ours.num_tokens == sum(draw.bounds.max_new_tokens for draw in draws)
    assert theirs.num_tokens == len(draws) * shape.lengths.completion[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_the_same_for_both(kind: Callable[[], shapes.Shape], ledger: Ledger) -> None:
    shape = kind()
    ours, theirs = (cast("Turn", work()) for work in step.contenders(shape, ledger).values())
    sizes = shape.step
    num_drawn = sizes.num_prompts * (sizes.oversample * sizes.num_entropy_samples + step_by_hand.NUM_COMPLETIONS)
    assert ours.num_tokens == theirs.num_tokens == num_drawn * shape.lengths.mean_completion
    assert ours.num_updates == theirs.num_updates == sizes.num_epochs  # two labels fit into one mini-batch


def test_our_step_goes_through_the_shipped_strategy(ledger: Ledger) -> None:
    shape = tiny.llama()
    theta = networks.network(shape, shapes.nudged(shapes.build(shape)))
    engine = networks.engine(shape, networks.network(shape, shapes.build(shape)))
    found = acquire(step.experiment_of(shape, engine, ledger), step.STEP, networks.policy(shape, theta), [])
    head = found.rows[0]
    assert (head["num_drawn"], head["num_candidates"]) == (8, 4)
    assert head["num_scored"] == 4 * 2 * shape.lengths.mean_completion  # by theta_0; theta_t knows what it drew
    assert len(step.preferences(found)) == shape.step.num_labels


def test_our_second_step_remembers_nothing_of_the_first(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = tiny.llama()
    made: list[HuggingFaceEngine] = []

    def engine(*args: Any) -> HuggingFaceEngine:
        made.append(HuggingFaceEngine(args[1], networks.tokenizer(shape), networks.EOS_IDS))
        return made[-1]

    monkeypatch.setattr(networks, "engine", engine)
    ours = step.contenders(shape, ledger)["apl-bench"]
    assert ours() == ours()
    first, second = (each.work() for each in made)
    assert first == second
    assert first.num_flops > 0


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_by_hand_are_ours(kind: Callable[[], shapes.Shape]) -> None:
    shape = kind()
    model = shapes.nudged(shapes.build(shape))
    prompts = shapes.prompts(shape, 3)
    batches = sampling.generate(model, prompts, sampling.Request(2, 1.0, 2, 5))
    completions = [tokens for batch in batches for tokens in step_by_hand.completions(batch)]
    rows = scoring.Sequences([prompt for prompt in prompts for _ in range(2)], completions)
    ours = scoring.logp(networks.network(shape, shapes.nudged(shapes.build(shape))), rows)
    assert step_by_hand.logps(model, batches) == pytest.approx(ours, abs=1e-4)
    with torch.no_grad():
        assert peers.full_logp(model, rows.prompts, rows.completions).numpy() == pytest.approx(ours, abs=1e-4)


def test_by_hand_the_prompts_of_the_highest_entropy_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = tiny.llama()
    entropy = np.arange(8.0)  # of the last prompt the highest
    asked: list[list[shapes.Tokens]] = []

    def logps(_model: object, batches: list[sampling.Generated]) -> np.ndarray:
        num = sum(len(batch.ids) for batch in batches)
        return -np.repeat(entropy, num // 8) if num == 8 * shape.step.num_entropy_samples else np.zeros(num)

    def generate(model: object, prompts: list[shapes.Tokens], request: sampling.Request) -> list[sampling.Generated]:
        asked.append(list(prompts))
        return sampling.generate(model, prompts, request)

    monkeypatch.setattr(step_by_hand, "logps", logps)
    monkeypatch.setattr(step_by_hand, "generate", generate)
    prompts = step.train_prompts(shape)
    theta_0 = shapes.build(shape)
    step_by_hand.StepByHand(shape, theta_0, shapes.nudged(theta_0), prompts).run()
    assert asked == [prompts, prompts[:3:-1]]


def test_by_hand_the_largest_margins_are_kept_and_the_alphabet_decides() -> None:
    candidates = step_by_hand.Candidates(
        [(1,), (2,), (3,)],
        [[(5,), (4,)], [(6,), (7,)], [(8,), (9,)]],
        policy_SK=np.array([[-1.0, -4.0], [-1.0, -1.5], [-3.0, -1.0]]),
        reference_SK=np.array([[-1.0, -1.0], [-1.0, -1.0], [-1.0, -1.0]]),
    )  # margins 3, 0.5, -2
    kept = step_by_hand.best(candidates, 2)
    assert kept.prompts == [(1,), (3,)]
    candidates.reference_SK[0] = [-7.0, -8.0]
    pairs, reference = step_by_hand.label(step_by_hand.best(candidates, 3))
    by_prompt = dict(zip(pairs.prompts, zip(pairs.chosen, pairs.rejected, strict=True), strict=True))
    assert by_prompt == {(1,): ((4,), (5,)), (2,): ((6,), (7,)), (3,): ((8,), (9,))}
    place = list(pairs.prompts).index((1,))
    assert (reference.chosen[place], reference.rejected[place]) == (-8.0, -7.0)


def test_tokens_after_an_eos_do_not_count() -> None:
    batch = sampling.Generated(torch.tensor([[1, 0, 5, 0, 7], [2, 3, 5, 6, 7]]),
                               torch.tensor([[0, 1, 1, 1, 0], [1, 1, 1, 1, 1]]), 3)  # fmt: skip
    assert list(step_by_hand.completions(batch)) == [(5, 0), (5, 6, 7)]
    assert sampling.num_new(batch) == 5


def test_generate_masks_what_follows_an_eos() -> None:
    """A model that can only say EOS: a token each, the rest is padding."""
    shape = tiny.llama()
    model = shapes.build(shape)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.model.embed_tokens.weight[shapes.EOS] = 1.0
        model.model.norm.weight.fill_(1000.0)
    (batch,) = sampling.generate(model, [(shapes.EOS,), (shapes.EOS,)], sampling.Request(2, 1.0, 0, 5))
    assert list(step_by_hand.completions(batch)) == [(shapes.EOS,)] * 4


def test_contenders_take_turns_after_one_that_does_not_count() -> None:
    said: list[str] = []
    seconds = interleave({"a": lambda: said.append("a"), "b": lambda: said.append("b")}, 2)
    assert "".join(said) == "ababab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_a_profile_names_operators_of_all_threads() -> None:
    draws = shapes.draws(tiny.gpt2(), 8, own_maximum=False)
    works = sampling.contenders(tiny.gpt2(), draws, 8)
    table = top_operators(works["apl-bench"])
    assert "aten::" in table
    assert "mm" in table
