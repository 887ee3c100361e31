"""Model FLOPs: as torch counts them while a model runs, and by hand for what runs once for several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import MambaConfig, MambaForCausalLM, MixtralConfig, MixtralForCausalLM
from transformers.cache_utils import DynamicCache

from apl_bench.engine import flops
from apl_bench.engine.flops import Costs, by_prompt, measured_peak
from apl_bench.engine.huggingface import HuggingFaceEngine
from apl_bench.engine.lora import Adapters, LoraNetwork
from apl_bench.engine.network import Network
from apl_bench.engine.shared import Group, apart
from apl_bench.spec import LoraSpec
from apl_bench.types import Completion, LengthBounds, Preference, Prompt, SampleRequest, Work
from tests.engine import tiny

KINDS = ("gpt2", "llama", "neox", "gemma2")
LENGTH = 24  # gemma2's window is 16
TARGETS = {"gpt2": ("c_attn", "c_proj"), "llama": ("q_proj", "down_proj"), "neox": ("query_key_value",)}
ROW = tuple(range(1, 1 + LENGTH))
GROUP = Group(ROW[:1], (ROW[1:],))


def plain(kind: str) -> Any:
    """A model whose attention is made of plain products."""
    model = tiny.KINDS[kind]()
    model.set_attn_implementation("eager")
    return model


def causal_less(costs: Costs, length: int) -> int:
    """FLOPs of attention from tokens to those ahead of them or out of their window, in a square of products."""
    looks = {window: flops._num_causal(length, window) for window in costs.attention or {}}
    return sum(2 * 2 * width * (length**2 - looks[window]) for window, width in (costs.attention or {}).items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_at_a_time_is_what_torch_counts(kind: str) -> None:
    network = Network(plain(kind), mixed=False)
    cache = DynamicCache(config=network.model.config)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        for token in ROW[:-1]:
            network.head.logits(network.hidden(torch.tensor([[token]]), past_key_values=cache)[0])
    assert Costs.of(network).forward([GROUP]) == Work(LENGTH - 1, counter.get_total_flops())


def backpropagate(network: Network) -> int:
    """A pass over the whole row and its gradient; the number of tokens fed."""
    hidden_D = network.hidden(torch.tensor([ROW[:-1]]))[0]
    loss = network.head._token_logp(hidden_D, torch.tensor(ROW[1:])).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return len(hidden_D)


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_what_torch_counts_less_what_no_token_may_look_at(kind: str) -> None:
    network = Network(plain(kind), mixed=False)
    costs = Costs.of(network)
    with FlopCounterMode(display=False) as counter:
        length = backpropagate(network)
    assert costs.update([GROUP]).num_flops == counter.get_total_flops() - 3 * causal_less(costs, length)


def _in_place_flop(_to: Any, left: torch.Size, right: torch.Size, out_shape: Any = None, **_factors: Any) -> int:
    """What `_to.addmm_(left, right)` takes, which torch does not count by itself."""
    del out_shape
    return 2 * left[0] * left[1] * right[1]


@pytest.mark.parametrize("kind", TARGETS)
def test_an_update_of_adapters_needs_no_gradient_of_frozen_weights(kind: str) -> None:
    model = plain(kind)
    base = LoraNetwork(model, False, Adapters(model, LoraSpec(4, 8, TARGETS[kind])), None)
    network = base.copy(("policy",))
    base.copy(("another",))  # one that must not be counted
    model.enable_input_require_grads()  # a gradient of the activations in every layer, the first included
    costs = Costs.of(network)
    in_place = {torch.ops.aten.addmm_: _in_place_flop}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        length = backpropagate(network)
    assert costs.update([GROUP]).num_flops == counter.get_total_flops() - 3 * causal_less(costs, length)
    assert Costs.of(base) == Costs.of(Network(plain(kind), mixed=False))


def test_by_hand() -> None:
    # GPT-2, D = 32: 3 D^2 + D^2 + 2 * 4 D^2 = 12,288 weights in each of 2 layers, a head of 257 rows, tied
    costs = Costs.of(tiny.network("gpt2"))
    assert costs == Costs(weights=2 * 12288, adapters=0, head=257 * 32, attention={None: 2 * 32})
    # a prompt of 3 with completions of 3, 1 and 0 tokens: 3 + 2 fed, 3 + 1 predicted, and looks at 1 + 2 + 3, 4 + 5
    group = Group((1, 2, 3), ((4, 5, 6), (7,), ()))
    expected = 2 * (5 * 24576 + 4 * 8224 + 2 * 15 * 64)
    assert costs.forward([group]) == Work(5, expected)
    assert costs.update([group]) == Work(5, 3 * expected)
    assert costs.forward(apart([group])).num_tokens == 5 + 3 + 3


def test_a_window_bounds_what_a_token_looks_at() -> None:
    assert Costs.of(tiny.network("gemma2")).attention == {None: 32, 16: 32}
    assert [flops._num_causal(length, 3) for length in range(6)] == [0, 1, 3, 6, 9, 12]
    assert [flops._num_causal(length, None) for length in range(6)] == [0, 1, 3, 6, 10, 15]


def test_completions_of_a_prompt_stand_together() -> None:
    prompts, completions = [(1,), (2,), (1,)], [(3,), (4,), (5, 6)]
    assert by_prompt(prompts, completions) == [Group((1,), ((3,), (5, 6))), Group((2,), ((4,),))]


@pytest.mark.parametrize(
    "model",
    [
        lambda: MixtralForCausalLM(MixtralConfig(**tiny.SHARED, num_key_value_heads=2, num_local_experts=2)),
        lambda: MambaForCausalLM(MambaConfig(vocab_size=tiny.VOCABULARY, hidden_size=32, num_hidden_layers=1)),
    ],
)
def test_products_of_other_kinds_are_not_guessed_at(model: Any) -> None:
    made = model()
    made.config.max_position_embeddings = 64
    costs = Costs.of(Network(made, mixed=False))
    assert costs == Costs()
    assert costs.update([GROUP]) == Work(LENGTH - 1, 0)


def test_experts_apart_are_not_guessed_at_either() -> None:
    body = torch.nn.ModuleDict({"up": torch.nn.Linear(2, 3), "words": torch.nn.Embedding(5, 2)})
    assert flops._body_weights(body) == 6
    body["experts"] = torch.nn.ModuleList([torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)])
    assert flops._body_weights(body) is None


def request(text: str, number: int) -> SampleRequest:
    return SampleRequest(Prompt(text, text), LengthBounds(2, 7), (1, "test", text, number))


def test_an_engine_counts_what_its_policies_do() -> None:
    engine = tiny.engine("gpt2")
    theta_0, costs = engine.reference(), Costs.of(tiny.network("gpt2"))
    assert engine.work() == Work()
    samples = theta_0.sample([request(text, k) for text in ("film", "a book") for k in range(3)], 0.7)
    texts = [sample.completion.token_ids for sample in samples]
    sampled = costs.forward([Group((1,) * 4, tuple(texts[:3])), Group((1,) * 6, tuple(texts[3:]))])
    assert sampled.num_tokens == 4 + 6 + sum(len(text) - 1 for text in texts)
    assert engine.work() == sampled
    completions = [sample.completion for sample in samples[:3]]
    for _ in range(2):  # the second time from memory
        theta_0.logp([Prompt("film", "film")] * 3, completions)
        assert engine.work() - sampled == costs.forward([Group((1,) * 4, tuple(texts[:3]))])


@pytest.mark.parametrize(("kind", "together"), [("llama", True), ("gemma2", False)])
def test_training_is_counted_by_epoch_with_the_reference_before_it(kind: str, together: bool) -> None:
    engine, costs = tiny.engine(kind), Costs.of(tiny.network(kind))
    encode = tiny.tokenizer().encode_prompt
    good, bad = (Completion(text, encode(text), False) for text in ("good", "not"))
    bought = [Preference(Prompt(text, text), good, bad, 1) for text in ("film", "a book", "it")]
    groups = [Group(encode(pair.prompt.text), (encode("good"), encode("not"))) for pair in bought]
    epoch = costs.update(groups if together else apart(groups))
    seen: list[Work] = []
    policy, _ = engine.finetune(
        engine.reference(), bought, tiny.training(epochs=3), (1,), lambda *_: seen.append(engine.work())
    )
    reference = costs.forward(groups)
    assert seen == [reference + epoch, reference + epoch + epoch, reference + epoch + epoch + epoch]
    policy.logp([Prompt("it", "it")], [good])
    assert engine.work() - seen[-1] == costs.forward([Group(encode("it"), (encode("good"),))])


@pytest.mark.parametrize("kind", TARGETS)
def test_no_more_is_claimed_than_ran(kind: str) -> None:
    torch.set_num_threads(1)  # one worker, in this thread, which is the one that torch counts in
    engine = HuggingFaceEngine(Network(plain(kind), mixed=False), tiny.tokenizer(), (tiny.EOS,))

    def sample() -> None:
        engine.reference().sample([request(text, k) for text in ("film", "a book") for k in range(8)], 0.7)

    def train() -> None:
        engine.finetune(engine.reference(), tiny.preferences(8), tiny.training(), (1,))

    for work in (sample, train):
        before = engine.work()
        with FlopCounterMode(display=False) as counter:
            work()
        claimed, ran = (engine.work() - before).num_flops, counter.get_total_flops()
        assert ran / 4 < claimed <= ran


def test_measuring_the_machine_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flops, "PEAK_SECONDS", 0.0)
    monkeypatch.setattr(flops, "PEAK_SIZES", {"cpu": (16, 32)})
    engine, requests = tiny.engine("gpt2"), [request("film", k) for k in range(4)]
    before = engine.reference().sample(requests, 0.7)
    state, random = torch.get_rng_state(), np.random.get_state(legacy=False)
    machine = engine.machine()
    assert (machine.device, machine.dtype) == ("cpu", "float32")
    assert machine.num_threads == torch.get_num_threads()
    assert machine.peak_gflop_per_s > 0
    assert engine.machine() is machine  # measured once
    assert torch.equal(torch.get_rng_state(), state)
    assert str(np.random.get_state(legacy=False)) == str(random)
    assert engine.reference().sample(requests, 0.7) == before
    assert engine.peak_device_bytes() is None


def test_the_peak_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([1.0, 1.0, 0.5, 2.0])  # the second round is the last, and faster in its first product
    monkeypatch.setattr(flops, "PEAK_SECONDS", 0.0)
    monkeypatch.setattr(flops, "PEAK_SIZES", {"cpu": (10, 20)})
    monkeypatch.setattr(flops, "_seconds_of_product", lambda *_: next(took))
    assert measured_peak(torch.device("cpu"), torch.float32) == pytest.approx(2 * 20**3 / 1.0 / 1e9)
