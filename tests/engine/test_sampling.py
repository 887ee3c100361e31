"""The sampler draws from the model's distribution, and a completion depends on nothing but its own request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apl_bench.engine import sampling, scoring
from apl_bench.engine.network import Network
from apl_bench.engine.sampling import Draw, Drawn, Settings, inverse_cdf, sample
from apl_bench.randomness import uniforms
from apl_bench.types import LengthBounds
from tests.engine import tiny

PLAIN = Settings(0.7, (tiny.EOS,))


def draws(num: int, seed: int = 0) -> list[Draw]:
    """Two requests for each of num / 2 prompts of 1 to 20 tokens, with completions of 1 to 12 tokens."""
    rng, requests = np.random.default_rng(seed), []
    for row in range(num // 2):
        prompt, low = tiny.tokens(rng, int(rng.integers(1, 21))), int(rng.integers(1, 6))
        bounds = LengthBounds(low, low + int(rng.integers(0, 7)))
        requests += [Draw(prompt, bounds, (seed, row, k)) for k in range(2)]
    return requests


NETWORK = tiny.network()
DRAWS = draws(50)
ALL = sample(NETWORK, DRAWS, PLAIN)


@settings(max_examples=20)
@given(rows=st.lists(st.integers(0, 49), min_size=1, max_size=50, unique=True))
def test_a_completion_does_not_depend_on_the_others(rows: list[int]) -> None:
    assert sample(NETWORK, [DRAWS[row] for row in rows], PLAIN) == [ALL[row] for row in rows]


def long_draws(num: int) -> list[Draw]:
    """Prompts of 50 to 134 tokens, with completions of at most 2 to 9."""
    rng = np.random.default_rng(3)
    return [Draw(tiny.tokens(rng, 50 + 7 * (row % 13)), LengthBounds(2, 2 + row % 8), (row,)) for row in range(num)]


LARGE = tiny.large_network("llama")
LARGE.max_length = 300
LONG_DRAWS = long_draws(40)
ALL_LONG = sample(LARGE, LONG_DRAWS, PLAIN)


@settings(max_examples=20)
@given(rows=st.lists(st.integers(0, 39), min_size=1, max_size=40, unique=True))
def test_nor_does_a_large_models_whose_prompts_run_by_length_and_are_then_put_together(rows: list[int]) -> None:
    assert sample(LARGE, [LONG_DRAWS[row] for row in rows], PLAIN) == [ALL_LONG[row] for row in rows]


@pytest.mark.parametrize("budget", [1, 2000])
def test_nor_on_the_budget(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LARGE.budgets.sampling, "num_tokens", budget)
    assert sample(LARGE, LONG_DRAWS, PLAIN) == ALL_LONG


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_padding_moves_no_more_than_last_bits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of three padded lengths in one batch draw as those of a small model, each length by itself."""
    monkeypatch.setattr(sampling, "LARGE_LENGTH_STEP", 8)
    monkeypatch.setattr(sampling, "SHORT_PROMPT", 0)
    large, small = sample(tiny.large_network(kind), DRAWS, PLAIN), sample(tiny.network(kind), DRAWS, PLAIN)
    assert [drawn.tokens for drawn in large] == [drawn.tokens for drawn in small]
    np.testing.assert_allclose([drawn.logp for drawn in large], [drawn.logp for drawn in small], atol=1e-4)


@pytest.mark.parametrize("budget", [1, 200])
def test_a_completion_does_not_depend_on_the_budget(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NETWORK.budgets.sampling, "num_tokens", budget)
    assert sample(NETWORK, DRAWS, PLAIN) == ALL


@pytest.mark.parametrize("kind", ["gpt2", "gemma2"])
def test_rows_that_end_early_leave_in_any_order(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With EOS as likely as not at each token, rows leave from everywhere; the others keep their keys and positions."""
    network, often = tiny.network(kind), Settings(1.5, tuple(range(1, 65)))
    requests = [Draw(draw.prompt, LengthBounds(1, 12), draw.stream) for draw in draws(120)]
    drawn = sample(network, requests, often)
    assert len({len(result.tokens) for result in drawn}) > 6
    sequences = scoring.Sequences([draw.prompt for draw in requests], [result.tokens for result in drawn])
    np.testing.assert_allclose([result.logp for result in drawn], scoring.logp(network, sequences), atol=1e-4)
    monkeypatch.setattr(sampling, "COMPACT_BELOW", 0.0)
    assert sample(network, requests, often) == drawn


def test_prompts_that_need_no_padding_are_drawn_as_among_others() -> None:
    rng = np.random.default_rng(5)
    full = [Draw(tiny.tokens(rng, 16), LengthBounds(8, 8), (index,)) for index in range(40)]
    short = [Draw(tiny.tokens(rng, 7), LengthBounds(8, 8), (index, "short")) for index in range(40)]
    assert sample(NETWORK, [*short, *full], PLAIN)[40:] == sample(NETWORK, full, PLAIN)


def test_streams_differ_so_completions_do() -> None:
    assert len({drawn.tokens for drawn in ALL}) > 40


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_logp_from_sampling_is_that_from_scoring(kind: str) -> None:
    network, requests = tiny.network(kind), draws(30, seed=3)
    drawn = sample(network, requests, PLAIN)
    sequences = scoring.Sequences([draw.prompt for draw in requests], [result.tokens for result in drawn])
    np.testing.assert_allclose([result.logp for result in drawn], scoring.logp(network, sequences), atol=1e-4)


def test_drawn_as_often_as_likely() -> None:
    network, prompt, num = tiny.network(), (5, 9, 3), 4000
    requests = [Draw(prompt, LengthBounds(1, 1), (index,)) for index in range(num)]
    counts = np.bincount(
        [drawn.tokens[0] for drawn in sample(network, requests, Settings(1.5, ()))], minlength=tiny.VOCABULARY
    )
    with torch.no_grad():
        logits = network.model(torch.tensor([prompt])).logits[0, -1].double()
    likely = (logits / 1.5).softmax(0).numpy()
    frequent = likely * num >= 5
    expected = np.append(likely[frequent], likely[~frequent].sum()) * num
    observed = np.append(counts[frequent], counts[~frequent].sum())
    chi_square, freedom = ((observed - expected) ** 2 / expected).sum(), len(expected) - 1
    assert freedom >= 20
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


def test_later_tokens_condition_on_earlier_ones() -> None:
    """The second token's distribution given the first, by the model run on both."""
    network, prompt = tiny.network(), (5, 9, 3)
    requests = [Draw(prompt, LengthBounds(2, 2), (index,)) for index in range(30)]
    for draw, drawn in zip(requests, sample(network, requests, Settings(1.0, ())), strict=True):
        with torch.no_grad():
            scores = network.model(torch.tensor([[*prompt, drawn.tokens[0]]])).logits[0, -1:]
        uniform = torch.from_numpy(uniforms([draw.stream], 2)[0, 1:])
        assert inverse_cdf(scores, uniform).item() == drawn.tokens[1]


def test_inverse_cdf_by_hand() -> None:
    scores = torch.log(torch.tensor([[0.25, 0.0, 0.5, 0.25]])).expand(6, -1)
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.7501, 1.0 - 2.0**-53], dtype=torch.float64)
    assert inverse_cdf(scores, uniform).tolist() == [0, 0, 2, 2, 3, 3]


@given(st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=30), st.integers(0, 29), st.booleans())
def test_inverse_cdf_never_draws_what_is_excluded(values: list[float], place: int, last: bool) -> None:
    scores = torch.tensor([[*values, 0.0]])
    excluded = scores.shape[1] - 1 if last else place % (scores.shape[1] - 1)
    scores[0, excluded] = -torch.inf
    for uniform in (0.0, 0.5, 1.0 - 2.0**-53):
        assert inverse_cdf(scores, torch.tensor([uniform], dtype=torch.float64)).item() != excluded


@given(
    st.lists(st.just(-np.inf) | st.floats(-9, 9, width=32), min_size=1, max_size=40), st.floats(0, 1, exclude_max=True)
)
def test_two_steps_find_what_one_does(values: list[float], uniform: float) -> None:
    scores = torch.tensor([[*values, 0.0]])
    number = torch.tensor([uniform], dtype=torch.float64)
    found = []
    for block in (1, 4, 7, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampling, "BLOCK", block)
            found.append(inverse_cdf(scores, number).item())
    cdf = scores[0].double().softmax(0).cumsum(0)
    nearest = (cdf - uniform).abs().min().item()
    assert len(set(found)) == 1 or nearest < 1e-6  # where rounding decides, either neighbour will do
    assert nearest < 1e-6 or found[0] == int((cdf > uniform).nonzero()[0])


class EosLover:
    """A network that gives EOS nearly all probability at every position."""

    def __init__(self, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
        original = type(network.head).logits

        def logits(head: Any, hidden: torch.Tensor) -> torch.Tensor:
            scores = original(head, hidden)
            scores[:, tiny.EOS] += 50.0
            return scores

        monkeypatch.setattr(type(network.head), "logits", logits)


def test_eos_ends_a_completion_once_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network()
    EosLover(network, monkeypatch)
    requests = [Draw((4, 5), LengthBounds(low, 9), (low,)) for low in (0, 1, 3, 9)]
    drawn = sample(network, requests, PLAIN)
    assert [len(result.tokens) for result in drawn] == [1, 1, 3, 9]
    assert all(result.finished and result.tokens.index(tiny.EOS) == len(result.tokens) - 1 for result in drawn)


def test_eos_before_the_minimum_costs_its_real_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens drawn with EOS out of reach keep the log-probability that the model gives them: about -50 nats here."""
    network = tiny.network()
    EosLover(network, monkeypatch)
    (drawn,) = sample(network, [Draw((4, 5), LengthBounds(2, 9), (0,))], PLAIN)
    assert len(drawn.tokens) == 2
    assert drawn.logp < -40


def test_without_eos_every_completion_is_as_long_as_may_be() -> None:
    requests = [Draw((4, 5), LengthBounds(1, high), (high,)) for high in (1, 5, 8)]
    drawn = sample(NETWORK, requests, Settings(0.7, ()))
    assert [(len(result.tokens), result.finished) for result in drawn] == [(1, False), (5, False), (8, False)]


def test_the_last_token_may_be_eos() -> None:
    requests = [Draw((4,), LengthBounds(1, 1), (index,)) for index in range(2)]
    drawn = sample(NETWORK, requests, Settings(0.7, tuple(range(1, tiny.VOCABULARY))))
    assert all(isinstance(result, Drawn) and result.finished for result in drawn)


def test_places_in_a_batch_by_hand() -> None:
    network = tiny.large_network("llama")
    network.max_length = 2000
    lengths = (1, 16, 17, 32, 33, 64, 65, 256, 257)
    assert [sampling._place_for(network, length) for length in lengths] == [32, 32, 32, 32, 64, 64, 256, 256, 512]
    assert sampling._place_for(tiny.network("llama"), 17) == 32
    assert sampling._place_for(tiny.large_network("gemma2"), 33) == 64


PLACED = {kind: tiny.large_network(kind) for kind in ("llama", "gemma2")}


@given(limit=st.integers(1, 20_000), share=st.floats(0.0, 1.0), kind=st.sampled_from(["llama", "gemma2"]))
def test_a_place_holds_what_has_run(limit: int, share: float, kind: str) -> None:
    network = PLACED[kind]
    network.max_length, length = limit, 1 + int(share * (limit - 1))
    assert length <= sampling._padded(network, length) <= sampling._place_for(network, length) <= limit


def test_prompts_of_a_large_model_run_by_length_and_draw_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.large_network("llama")
    network.max_length = 300
    fed, rng = tiny.fed_shapes(network, monkeypatch), np.random.default_rng(4)
    lengths = [120] * 20 + [70] * 5
    sample(network, [Draw(tiny.tokens(rng, num), LengthBounds(3, 3), (row,)) for row, num in enumerate(lengths)], PLAIN)
    assert fed == [(5, 96), (20, 128), (25, 1), (25, 1)]


def test_finished_rows_leave_the_batch_and_prompts_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network()
    fed = tiny.fed_shapes(network, monkeypatch)
    lengths = [2] * 40 + [4] * 30
    requests = [Draw((6, 7, 8), LengthBounds(high, high), (row,)) for row, high in enumerate(lengths)]
    sample(network, requests, PLAIN)
    assert fed == [(1, 16), (70, 1), (30, 1), (30, 1)]


def test_rows_that_are_done_may_run_past_the_models_last_position() -> None:
    requests = [Draw((3,) * 15, LengthBounds(49, 49), (0,)), Draw((4,) * 3, LengthBounds(61, 61), (1,))]
    drawn = sample(NETWORK, requests, Settings(0.7, ()))
    assert [len(result.tokens) for result in drawn] == [49, 61]
    assert drawn[:1] == sample(NETWORK, requests[:1], Settings(0.7, ()))


def test_nothing_to_sample() -> None:
    assert sample(NETWORK, [], PLAIN) == []
