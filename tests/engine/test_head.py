"""The head's log-probabilities and their hand-written gradient, against autograd's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Lfm2Config, Lfm2ForCausalLM

from apl_bench.engine import head as head_module
from apl_bench.engine.head import Head
from apl_bench.engine.network import Network
from apl_bench.types import SpecError
from tests.engine import tiny


def _inputs(num: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(num, 8, generator=generator, requires_grad=True)
    weight = torch.randn(11, 8, generator=generator, requires_grad=True)
    return hidden, weight, torch.randint(0, 11, (num,), generator=generator)


@pytest.mark.parametrize("num", [1, 5, 600])
def test_gradients_equal_autograds(num: int) -> None:
    hidden, weight, tokens = _inputs(num)
    coefficient = torch.linspace(-1.0, 2.0, num)
    expected = (hidden @ weight.T).log_softmax(1)[torch.arange(num), tokens]
    expected_grads = torch.autograd.grad((expected * coefficient).sum(), (hidden, weight))
    actual = Head(weight, None, 1.0, None).token_logp(hidden, tokens)
    actual_grads = torch.autograd.grad((actual * coefficient).sum(), (hidden, weight))
    torch.testing.assert_close(actual, expected)
    for mine, theirs in zip(actual_grads, expected_grads, strict=True):
        assert (mine - theirs).norm() <= 1e-6 * theirs.norm()


@pytest.mark.parametrize("rows", [1, 3, 49])
def test_logits_are_normalised_row_by_row_however_many_at_a_time(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, tokens = _inputs(50)
    monkeypatch.setattr(head_module, "CACHED_ENTRIES", rows * len(weight))
    expected = torch.log_softmax(hidden @ weight.T, dim=1).gather(1, tokens[:, None])[:, 0]
    for entries in (head_module.BUFFER_ENTRIES, 8 * len(weight)):
        monkeypatch.setattr(head_module, "BUFFER_ENTRIES", entries)
        torch.testing.assert_close(Head(weight, None, 1.0, None).token_logp(hidden, tokens), expected)


def test_probabilities_that_do_not_fit_into_the_buffer_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, tokens = _inputs(50)
    coefficient, head = torch.linspace(-1.0, 2.0, 50), Head(weight, None, 1.0, None)
    found = []
    for entries in (head_module.BUFFER_ENTRIES, 8 * len(weight)):
        monkeypatch.setattr(head_module, "BUFFER_ENTRIES", entries)
        logp = head.token_logp(hidden, tokens)
        found.append(torch.autograd.grad((logp * coefficient).sum(), (hidden, weight)))
    for kept, again in zip(*found, strict=True):
        assert (kept - again).norm() <= 1e-6 * kept.norm()


def test_a_gradient_that_is_there_is_added_to() -> None:
    hidden, weight, tokens = _inputs(50)
    head = Head(weight, None, 1.0, None)
    head.token_logp(hidden, tokens).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    once, place = weight.grad.clone(), weight.grad.data_ptr()
    head.token_logp(hidden, tokens).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad.data_ptr() == place
    assert (weight.grad - 2 * once).norm() <= 1e-6 * once.norm()


def test_a_second_backward_fails_rather_than_being_wrong() -> None:
    hidden, weight, tokens = _inputs(5)
    total = Head(weight, None, 1.0, None).token_logp(hidden, tokens).sum()
    total.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(AttributeError):
        total.backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("num", [1, 15, 16, 17, 255, 257, 600])
def test_chunks_change_no_bit(num: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, tokens = _inputs(600)
    head = Head(weight, None, 1.0, None)
    with torch.no_grad():
        monkeypatch.setattr(head_module, "CHUNK", 10_000)
        whole = head.token_logp(hidden, tokens)[:num]
        monkeypatch.undo()
        assert torch.equal(head.token_logp(hidden[:num], tokens[:num]), whole)


def test_bias_scale_and_softcap_by_hand() -> None:
    head = Head(torch.tensor([[1.0], [0.0]]), torch.tensor([0.5, 0.0]), 2.0, 4.0)
    expected = 4.0 * torch.tanh(torch.tensor(2.0 * 1.5 / 4.0))
    torch.testing.assert_close(head.logits(torch.tensor([[1.0]])), torch.stack([expected, torch.tensor(0.0)])[None])


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_body_and_head_together_are_the_model(kind: str) -> None:
    tiny.network(kind).check()


def test_a_model_that_changes_its_logits_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network()
    forward = network.model.forward

    def shifted(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits[..., 3] += 1.0
        return output

    monkeypatch.setattr(network.model, "forward", shifted)
    with pytest.raises(SpecError, match=r"GPT2LMHeadModel does not compute its logits.*Choose another model"):
        network.check()


def test_recurrent_layers_are_refused() -> None:
    """A state that each token changes can't be handed from a prompt to several completions."""
    config = Lfm2Config(**tiny.SHARED, num_key_value_heads=2, layer_types=["conv", "full_attention"])
    with pytest.raises(SpecError, match=r"Lfm2ForCausalLM has recurrent layers.*expected attention in all layers"):
        Network(Lfm2ForCausalLM(config), mixed=False).check()
