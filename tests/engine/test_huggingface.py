"""The engine as the runner uses it: policies, the reference, fine-tuning, files and identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from apl_bench.engine import scoring
from apl_bench.engine.huggingface import HuggingFaceEngine, HuggingFacePolicy
from apl_bench.engine.network import Network
from apl_bench.protocols import Engine, Policy
from apl_bench.types import Completion, LengthBounds, Preference, Prompt, SampleRequest, SpecError
from tests.engine import tiny

PREFERENCES = tiny.preferences(6)
NAME = (3, "train", 1)


def features(policy: Policy, preferences: list[Preference]) -> np.ndarray:
    """Log-probabilities of all chosen, then all rejected completions."""
    prompts = [preference.prompt for preference in preferences]
    sides = [preference.chosen for preference in preferences] + [preference.rejected for preference in preferences]
    return policy.logp([*prompts, *prompts], sides)


def request(text: str, bounds: LengthBounds, k: int = 0) -> SampleRequest:
    return SampleRequest(Prompt(text, text), bounds, (0, text, k))


def weights_of(policy: HuggingFacePolicy) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in policy.network.parameters.items()}


def count_scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sequences each scoring pass from now on gets."""
    counts: list[int] = []
    original = scoring.logp

    def spy(network: Network, sequences: scoring.Sequences) -> np.ndarray:
        counts.append(len(sequences))
        return original(network, sequences)

    monkeypatch.setattr(scoring, "logp", spy)
    return counts


def test_it_is_an_engine() -> None:
    engine: Engine = tiny.engine()
    policy: Policy = engine.reference()
    assert policy.tokenizer.decode(policy.tokenizer.encode("a film")) == "a film"


def test_samples_are_text_tokens_and_their_probability() -> None:
    policy = tiny.engine().reference()
    requests = [request("the film", LengthBounds(2, 6), k) for k in range(8)]
    samples = policy.sample(requests, 0.7)
    completions = [sample.completion for sample in samples]
    expected = policy.logp([item.prompt for item in requests], completions)
    np.testing.assert_allclose([sample.logp for sample in samples], expected, atol=1e-4)
    for completion in completions:
        shown = completion.token_ids[:-1] if completion.finished else completion.token_ids
        assert completion.text == policy.tokenizer.decode(shown)
        assert "<eos>" not in completion.text


def test_a_finished_completion_ends_with_an_eos_that_its_text_lacks() -> None:
    nearly_every_token_ends = tuple(range(1, tiny.VOCABULARY))
    policy = HuggingFacePolicy(tiny.network(), tiny.tokenizer(), nearly_every_token_ends)
    (sample,) = policy.sample([request("the film", LengthBounds(1, 6))], 0.7)
    assert (sample.completion.text, len(sample.completion.token_ids), sample.completion.finished) == ("", 1, True)


@pytest.mark.parametrize("bounds", [LengthBounds(3, 2), LengthBounds(-1, 2), LengthBounds(0, 0)])
def test_impossible_bounds(bounds: LengthBounds) -> None:
    with pytest.raises(SpecError, match="expected 0 <= minimum <= maximum, and maximum >= 1"):
        tiny.engine().reference().sample([request("a", bounds)], 0.7)


def test_what_does_not_fit_is_refused() -> None:
    policy = tiny.engine().reference()
    with pytest.raises(SpecError, match=r"has 60 tokens and its completion up to 5; the model takes 64"):
        policy.sample([request("x" * 60, LengthBounds(1, 5))], 0.7)
    with pytest.raises(SpecError, match=r"has 60 tokens and its completion up to 5; the model takes 64"):
        policy.logp([Prompt("x", "x" * 60)], [Completion("", (1, 2, 3, 4, 5), False)])
    with pytest.raises(SpecError, match="the prompt '' has no tokens"):
        policy.logp([Prompt("empty", "")], [Completion("a", (1,), False)])


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_is_above_zero(temperature: float) -> None:
    with pytest.raises(SpecError, match=r"the temperature is .*; expected a number above 0"):
        tiny.engine().reference().sample([request("a", LengthBounds(1, 2))], temperature)


def test_margins_are_zero_while_the_policy_is_the_reference(tmp_path: Path) -> None:
    """Also where it is another object with the same weights, scored in other company."""
    engine = tiny.engine()
    engine.save(engine.reference(), tmp_path / "start.safetensors")
    same = engine.load(tmp_path / "start.safetensors")
    reference = features(engine.reference(), PREFERENCES)
    assert np.array_equal(features(same, PREFERENCES), reference)
    for row in range(6):
        assert np.array_equal(features(same, PREFERENCES[row : row + 1]), reference[[row, row + 6]])


def test_reference_is_scored_once_for_each_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, counts = tiny.engine(), count_scored(monkeypatch)
    features(engine.reference(), PREFERENCES[:2])
    engine.finetune(engine.reference(), PREFERENCES[:4], tiny.training(epochs=3), NAME)
    engine.finetune(engine.reference(), [*PREFERENCES, PREFERENCES[0]], tiny.training(epochs=3), NAME)
    features(engine.reference(), PREFERENCES)
    assert [count for count in counts if count] == [4, 4, 4]


def test_a_policy_is_scored_as_it_stands() -> None:
    """Only the reference remembers: a policy's log-probabilities follow its weights."""
    engine = tiny.engine()
    policy, _ = engine.finetune(engine.reference(), PREFERENCES, tiny.training(), NAME)
    moved = features(policy, PREFERENCES) - features(engine.reference(), PREFERENCES)
    assert (moved[:6] > moved[6:]).all()


def test_training_changes_neither_start_nor_reference() -> None:
    engine = tiny.engine()
    reference = weights_of(engine.reference())
    policy, _ = engine.finetune(engine.reference(), PREFERENCES, tiny.training(), NAME)
    start = weights_of(policy)
    later, _ = engine.finetune(policy, PREFERENCES, tiny.training(), NAME)
    for name, weight in weights_of(engine.reference()).items():
        assert torch.equal(weight, reference[name])
        assert torch.equal(policy.network.parameters[name], start[name])
        assert not torch.equal(later.network.parameters[name], start[name])


def test_training_again_gives_the_same_bits() -> None:
    weights = []
    for _ in range(2):
        engine = tiny.engine()
        weights.append(weights_of(engine.finetune(engine.reference(), PREFERENCES, tiny.training(), NAME)[0]))
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name])


def test_no_preferences_no_training() -> None:
    engine = tiny.engine()
    policy, report = engine.finetune(engine.reference(), [], tiny.training(), NAME)
    assert policy is engine.reference()
    assert (report.epoch_losses, report.num_updates, report.num_tokens) == ((), 0, 0)


def test_policies_of_others_are_refused() -> None:
    class Stranger:
        tokenizer = tiny.tokenizer()

    with pytest.raises(TypeError, match="is a Stranger; expected one that this engine made"):
        tiny.engine().finetune(Stranger(), [], tiny.training(), NAME)  # type: ignore[arg-type]


def test_what_was_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    engine, path = tiny.engine("llama"), tmp_path / "policy.safetensors"
    policy, _ = engine.finetune(engine.reference(), PREFERENCES, tiny.training(), NAME)
    engine.save(policy, path)
    loaded = engine.load(path)
    for name, weight in policy.network.parameters.items():
        assert torch.equal(loaded.network.parameters[name], weight)
    assert np.array_equal(features(loaded, PREFERENCES), features(policy, PREFERENCES))
    assert [entry.name for entry in tmp_path.iterdir()] == ["policy.safetensors"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, path = tiny.engine(), tmp_path / "policy.safetensors"
    engine.save(engine.reference(), path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space left"):
        engine.save(engine.finetune(engine.reference(), PREFERENCES, tiny.training(), NAME)[0], path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["policy.safetensors"]


def test_weights_that_are_not_there_or_not_whole_or_anothers(tmp_path: Path) -> None:
    engine, path = tiny.engine(), tmp_path / "policy.safetensors"
    with pytest.raises(SpecError, match=r"there are no weights at"):
        engine.load(path)
    engine.save(engine.reference(), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SpecError, match=r"is no whole safetensors file"):
        engine.load(path)
    other = tiny.engine("llama")
    other.save(other.reference(), path)
    with pytest.raises(SpecError, match=r"are another model's: '.*' has shape .*; expected"):
        engine.load(path)


def test_identity_follows_the_weights_and_the_tokenizer() -> None:
    engine, again = tiny.engine(), tiny.engine()
    identity = engine.identity()
    assert identity == again.identity()
    assert identity["architecture"] == "GPT2LMHeadModel"
    assert (identity["dtype"], identity["device"]) == ("float32", "cpu")
    assert identity["num_threads"] == torch.get_num_threads()
    with torch.no_grad():
        next(iter(again.reference().network.parameters.values()))[0, 0] += 1e-6
    changed = again.identity()
    assert {key for key in identity if identity[key] != changed[key]} == {"weights_sha256"}


def test_bfloat16_keeps_its_weights_in_float32() -> None:
    """Updates of size 1e-6 would be rounded away in bfloat16 weights."""
    engine = HuggingFaceEngine(Network(tiny.gpt2(), mixed=True), tiny.tokenizer(), (tiny.EOS,))
    policy, report = engine.finetune(engine.reference(), PREFERENCES, tiny.training(learning_rate=1e-6), NAME)
    assert report.num_updates == 4
    for name, weight in policy.network.parameters.items():
        assert weight.dtype == torch.float32
        assert not torch.equal(weight, engine.reference().network.parameters[name])


def test_after_each_epoch_the_policy_is_what_so_many_epochs_make() -> None:
    """And looking at it, by sampling and scoring, changes nothing of what follows."""
    engine = tiny.engine()
    seen: list[tuple[int, float, list[float]]] = []

    def look(epoch: int, policy: Policy, loss: float) -> None:
        policy.sample([request("the film", LengthBounds(2, 6))], 0.7)
        seen.append((epoch, loss, features(policy, PREFERENCES).tolist()))

    _, report = engine.finetune(engine.reference(), PREFERENCES, tiny.training(epochs=3), NAME, look)
    assert [epoch for epoch, _, _ in seen] == [1, 2, 3]
    assert [loss for _, loss, _ in seen] == list(report.epoch_losses)
    for epoch, _, values in seen:
        policy, _ = engine.finetune(engine.reference(), PREFERENCES, tiny.training(epochs=epoch), NAME)
        assert features(policy, PREFERENCES).tolist() == values
