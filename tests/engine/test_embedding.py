"""Input embeddings: torch's values and gradients, and a copy of a model has weights of its own."""

from __future__ import annotations

import copy

import pytest
import torch

from apl_bench.engine.embedding import InPlaceEmbedding, use_in_place_gradient
from apl_bench.engine.network import Network
from tests.engine import tiny

IDS = torch.tensor([[1, 2, 2], [0, 1, 4]])


@pytest.mark.parametrize("padding", [None, 1])
def test_values_and_gradients_are_torchs(padding: int | None) -> None:
    theirs = torch.nn.Embedding(5, 3, padding_idx=padding)
    mine = copy.deepcopy(theirs)
    mine.__class__ = InPlaceEmbedding
    coefficient = torch.arange(18.0).view(2, 3, 3)
    for _ in range(2):  # the second time there is a gradient to be added to
        for module in (theirs, mine):
            (module(IDS) * coefficient).sum().backward()
    assert torch.equal(mine(IDS), theirs(IDS))
    assert theirs.weight.grad is not None
    assert torch.equal(mine.weight.grad, theirs.weight.grad)  # type: ignore[arg-type]


def test_the_second_gradient_is_added_in_place() -> None:
    module = torch.nn.Embedding(5, 3)
    module.__class__ = InPlaceEmbedding
    module(IDS).sum().backward()
    assert module.weight.grad is not None
    place = module.weight.grad.data_ptr()
    module(IDS).sum().backward()
    assert module.weight.grad.data_ptr() == place


@pytest.mark.parametrize("kind", ["gpt2", "llama", "neox"])
def test_a_copy_looks_up_its_own_weights(kind: str) -> None:
    network = tiny.network(kind)
    assert isinstance(network.model.get_input_embeddings(), InPlaceEmbedding)
    twin = network.copy(("twin",))
    with torch.no_grad():
        twin.model.get_input_embeddings().weight.zero_()
        assert network.model.get_input_embeddings()(IDS).abs().sum() > 0
        assert twin.model.get_input_embeddings()(IDS).abs().sum() == 0


def test_embeddings_of_another_kind_stay_as_they_are() -> None:
    model = tiny.gpt2()
    model.get_input_embeddings().max_norm = 1.0
    use_in_place_gradient(model)
    assert type(model.get_input_embeddings()) is torch.nn.Embedding
    assert isinstance(Network(tiny.gpt2(), mixed=False).model.get_input_embeddings(), InPlaceEmbedding)
