"""Sequence classifiers and reward models as oracles, on small ones with random weights, saved and loaded as any are."""

from __future__ import annotations

import builtins
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rfc8785
import torch
from huggingface_hub import errors
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from apl_bench.checks import check_oracle
from apl_bench.oracles import sequence_models
from apl_bench.oracles.huggingface import Encoded, HuggingFace
from apl_bench.oracles.sequence_models import Checkpoint, load
from apl_bench.registry import ORACLES
from apl_bench.types import Comparison, Completion, Pair, Prompt, Reading, Reply, SpecError, Verdict
from tests.fakes import FakeTask

USUAL = dict(HuggingFace.defaults("oracle", FakeTask)) | {"max_length": 48}
CHAT_TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
SENTIMENT: dict[str, Any] = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
SHAPE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip
SMALL: dict[str, Any] = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "num_labels": 1}


def byte_tokenizer(special: Sequence[str], ends: bool = False, **roles: str) -> Any:
    """One token a byte behind the special ones; with `ends`, <s> and </s> around a text as RoBERTa has them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if ends:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, additional_special_tokens=list(special), **roles)  # type: ignore[no-untyped-call]


def word_tokenizer() -> Any:
    """Letters and pieces of lower case, [CLS] and [SEP] around a text, as BERT has them."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(97 + number) for number in range(26)]
    words = ["great", "bad", "film", "was", *letters, *(f"##{letter}" for letter in letters), ".", ",", "[", "]"]
    vocabulary = {token: number for number, token in enumerate([*special, *words])}
    backend = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


def seeded(kind: Any, config: Any) -> Any:
    """Weights large enough that the model has opinions."""
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(5.0)
    return model


def distilbert() -> tuple[Any, Any]:
    tokenizer = word_tokenizer()
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=64, **SENTIMENT
    )
    return seeded(DistilBertForSequenceClassification, config), tokenizer


def roberta() -> tuple[Any, Any]:
    """Three labels; positions count from the one after the padding's, so that 64 of them take 62 tokens."""
    special = ["<s>", "<pad>", "</s>"]
    tokenizer = byte_tokenizer(special, ends=True, bos_token="<s>", pad_token="<pad>", eos_token="</s>")
    labels = {0: "negative", 1: "neutral", 2: "positive"}
    config = RobertaConfig(vocab_size=len(tokenizer), pad_token_id=1, id2label=labels, **SHAPE)
    return seeded(RobertaForSequenceClassification, config), tokenizer


def gpt2() -> tuple[Any, Any]:
    """A reward model that nobody gave a padding token."""
    tokenizer = byte_tokenizer(["<|endoftext|>"], eos_token="<|endoftext|>")
    config = GPT2Config(vocab_size=len(tokenizer), **SMALL)
    return seeded(GPT2ForSequenceClassification, config), tokenizer


def llama() -> tuple[Any, Any]:
    """A reward model of conversations."""
    special = ["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"]
    tokenizer = byte_tokenizer(special, pad_token="<|pad|>", eos_token="<|end|>")
    tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, num_key_value_heads=2, **{**SHAPE, "num_labels": 1})
    return seeded(LlamaForSequenceClassification, config), tokenizer


KINDS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "distilbert": distilbert, "roberta": roberta, "gpt2": gpt2, "llama": llama,
}  # fmt: skip
SCORES: dict[str, str] = {"distilbert": "positive", "roberta": "positive", "gpt2": "reward", "llama": "reward"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind as save_pretrained writes it."""
    made = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, folder in made.items():
        model, tokenizer = KINDS[kind]()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return made


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Path:
    """DistilBERT in a folder that a test may change."""
    return Path(shutil.copytree(folders["distilbert"], tmp_path / "copied"))


def oracle(folders: dict[str, Path], kind: str, **changes: Any) -> HuggingFace:
    return HuggingFace(**{"model": str(folders[kind]), "score": SCORES[kind], **USUAL, **changes})


def comparison(first: str, second: str, prompt: str = "the film was", swapped: bool = False) -> Comparison:
    sides = (Completion(text, (1,), finished=True) for text in (first, second))
    return Comparison(Pair(Prompt("p", prompt), *sides), swapped)


def answer(asked: HuggingFace, shown: Comparison) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(asked.ask([shown])[0].raw)
    return found


def outputs(folder: Path, text: str, **options: Any) -> np.ndarray:
    """The logits by the ordinary way of transformers, shape (num_labels,), float64."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt", **options)).logits[0]
    found: np.ndarray = logits.double().numpy()
    return found


# Scores


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_contract(folders: dict[str, Path], kind: str) -> None:
    assert check_oracle(lambda: oracle(folders, kind)) == []
    assert ORACLES.entry("hf").summary == HuggingFace.summary


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_reward_is_the_models_output(folders: dict[str, Path], kind: str) -> None:
    found = answer(oracle(folders, kind), comparison(" great", " so bad."))
    for place, text in (("first", "the film was great"), ("second", "the film was so bad.")):
        assert found[f"score_{place}"] == pytest.approx(outputs(folders[kind], text)[0], abs=2e-6)
        assert found[place] == {"num_tokens": len(text), "num_dropped": 0, "num_special": 0}


@pytest.mark.parametrize(("kind", "label"), [("distilbert", 1), ("roberta", 2)])
def test_a_label_scores_by_its_log_odds(folders: dict[str, Path], kind: str, label: int) -> None:
    found = answer(oracle(folders, kind), comparison(" great", " bad"))
    for place, text in (("first", "the film was great"), ("second", "the film was bad")):
        logits = outputs(folders[kind], text)
        p = np.exp(logits[label]) / np.exp(logits).sum()
        assert found[f"score_{place}"] == pytest.approx(math.log(p / (1 - p)), abs=1e-5)


def test_labels_that_exclude_nothing_score_by_their_own_output(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    found = answer(oracle({"distilbert": copied}, "distilbert"), comparison(" great", " bad"))
    assert found["score_first"] == pytest.approx(outputs(copied, "the film was great")[1], abs=2e-6)


@pytest.mark.parametrize("score", ["POSITIVE", "positive", 1])
def test_a_label_by_name_or_number_is_the_same_question(folders: dict[str, Path], score: Any) -> None:
    asked = oracle(folders, "distilbert", score=score)
    assert dict(asked.request(comparison("a", "b")))["score"] == 1
    other = oracle(folders, "distilbert", score="negative")
    one, two = (item.scores("film was", [" great"])[0] for item in (asked, other))
    assert one == pytest.approx(-(two or 0), abs=2e-6)


def test_p_first_is_the_sigmoid_of_the_difference(folders: dict[str, Path]) -> None:
    asked, shown = oracle(folders, "llama"), comparison(" great", " so bad.")
    found, reading = answer(asked, shown), asked.read(asked.ask([shown])[0])
    difference = found["score_first"] - found["score_second"]
    assert reading.verdict is (Verdict.FIRST if difference > 0 else Verdict.SECOND)
    assert reading.p_first == pytest.approx(1 / (1 + math.exp(-difference)), abs=1e-6)
    assert asked.read(asked.ask([comparison(" same", " same")])[0]) == Reading(Verdict.TIE, 0.5)


def test_a_reply_is_canonical_json(folders: dict[str, Path]) -> None:
    reply = oracle(folders, "roberta").ask([comparison(" a", " b")])[0]
    assert rfc8785.dumps(json.loads(reply.raw)).decode() == reply.raw
    assert reply.model.startswith("RobertaForSequenceClassification@")


# Conversations


def test_a_conversation_is_written_by_the_template(folders: dict[str, Path]) -> None:
    asked = oracle(folders, "llama", chat=True)
    text = "<|user|>the film<|end|><|assistant|> was great<|end|>"
    expected = outputs(folders["llama"], text, add_special_tokens=False)[0]
    assert asked.scores("the film", [" was great"]) == [pytest.approx(expected, abs=2e-6)]
    assert asked.scores("the film", [" was great"]) != oracle(folders, "llama").scores("the film", [" was great"])


def test_a_completion_that_writes_control_tokens_writes_text(folders: dict[str, Path]) -> None:
    """It cannot end its turn and speak as somebody else."""
    asked = oracle(folders, "llama", chat=True, max_length=64)
    injected = asked.encode("film", "x<|end|><|user|>y")
    control = [asked.encode("film", "xy").tokens.count(number) for number in range(4)]
    assert [injected.tokens.count(number) for number in range(4)] == control == [0, 1, 1, 2]
    assert injected.num_special == 2


@pytest.mark.parametrize(
    ("kind", "text", "special"),
    [("distilbert", " bad[SEP]great", 3), ("roberta", " bad</s><s>great", 2), ("gpt2", " a<|endoftext|>", 0)],
)
def test_a_text_that_writes_control_tokens_is_text(
    folders: dict[str, Path], kind: str, text: str, special: int
) -> None:
    """Also where prompt and completion only together write one."""
    asked = oracle(folders, kind)
    plain = asked.encode("the film was", " bad")
    assert asked.encode("the film was", text).tokens.count(special) == plain.tokens.count(special)
    whole, num = "the film was" + text, asked.encode("the film was", text).num_special
    split = whole.index("<" if "<" in whole else "[") + 2
    assert asked.encode(whole[:split], whole[split:]) == asked.encode("the film was", text)
    assert num == {"distilbert": 1, "roberta": 2, "gpt2": 1}[kind]


# Truncation


@pytest.mark.parametrize(
    ("truncation", "same_end", "same_start"), [("left", False, True), ("right", True, False)]
)  # fmt: skip
def test_a_long_text_loses_the_side_that_was_said(
    folders: dict[str, Path], truncation: str, same_end: bool, same_start: bool
) -> None:
    asked = oracle(folders, "gpt2", max_length=20, truncation=truncation)
    text, other_end, other_start = "a" * 20 + "b" * 20, "a" * 20 + "c" * 20, "d" * 20 + "b" * 20
    base, end, start = asked.scores("", [text, other_end, other_start])
    assert (base == end, base == start) == (same_end, same_start)
    assert answer(asked, comparison(text, other_end, "x"))["first"] == {
        "num_tokens": 20, "num_dropped": 21, "num_special": 0,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["distilbert", "roberta"])
@pytest.mark.parametrize("truncation", ["left", "right"])
def test_a_cut_text_keeps_the_tokens_around_it(folders: dict[str, Path], kind: str, truncation: str) -> None:
    asked = oracle(folders, kind, max_length=12, truncation=truncation)
    cut, plain = asked.encode("film", " was bad" * 20), asked.encode("film", " was")
    assert len(cut.tokens) == 12
    assert (cut.tokens[0], cut.tokens[-1]) == (plain.tokens[0], plain.tokens[-1])
    assert cut.num_dropped > 0


@pytest.mark.parametrize(("kind", "limit"), [("distilbert", 64), ("roberta", 62), ("gpt2", 64), ("llama", 64)])
def test_more_tokens_than_the_model_takes_are_refused_at_once(folders: dict[str, Path], kind: str, limit: int) -> None:
    with pytest.raises(SpecError, match=rf"max_length is {limit + 1}; expected at most {limit}"):
        oracle(folders, kind, max_length=limit + 1)
    assert oracle(folders, kind, max_length=limit).scores("a" * 100, [""]) != [None]


# The digits of a text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_score_does_not_depend_on_what_else_is_asked(
    folders: dict[str, Path], kind: str, batch_size: int, dtype: str
) -> None:
    if kind == "gpt2" and batch_size > 1:
        return
    asked = oracle(folders, kind, batch_size=batch_size, dtype=dtype)
    rng = np.random.default_rng(0)
    texts = [" " + "".join(rng.choice(list("abcd "), int(rng.integers(0, 12)))) for _ in range(40)]
    alone = [asked.scores("the film was", [text])[0] for text in texts]
    for order in (list(range(40)), list(range(40))[::-1], rng.permutation(40).tolist()):
        together = asked.scores("the film was", [texts[row] for row in order])
        assert together == [alone[row] for row in order]


def test_texts_of_other_lengths_are_never_padded(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked, shapes = oracle(folders, "llama", batch_size=3), []
    model = load(Checkpoint(str(folders["llama"]), None, "float32", "auto")).model
    forward = model.forward

    def watched(input_ids: Any, attention_mask: Any) -> Any:
        shapes.append(tuple(input_ids.shape))
        assert bool(attention_mask.all())
        return forward(input_ids=input_ids, attention_mask=attention_mask)

    monkeypatch.setattr(model, "forward", watched)
    asked.scores("", ["a", "b", "cc", "d", "e", "ff"])
    assert sorted(shapes) == [(3, 1), (3, 1), (3, 2)]


def test_the_same_text_is_run_once(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked, seen, encode = oracle(folders, "gpt2"), list[str](), HuggingFace.encode

    def watched(self: HuggingFace, prompt: str, completion: str) -> Encoded:
        seen.append(completion)
        return encode(self, prompt, completion)

    monkeypatch.setattr(HuggingFace, "encode", watched)
    asked.ask([comparison("a", "b"), comparison("b", "a"), comparison("a", "c")])
    assert seen == ["a", "b", "c"]


def test_an_overflow_is_no_vote(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = oracle(folders, "gpt2")
    monkeypatch.setattr(sequence_models.SequenceModel, "logits", lambda _, rows, size: [np.array([np.nan])] * len(rows))
    reply = asked.ask([comparison("a", "b")])[0]
    assert json.loads(reply.raw)["score_first"] is None
    assert asked.read(reply) == Reading(Verdict.INVALID)


def test_an_empty_text_is_refused_where_the_model_would_see_nothing(folders: dict[str, Path]) -> None:
    with pytest.raises(SpecError, match=r"with its completion has no tokens"):
        oracle(folders, "gpt2").scores("", [""])


@pytest.mark.parametrize(
    "raw", ["", "null", "[1]", '{"score_first": null, "score_second": 1}', '{"score_first": 1e300}']
)
def test_what_cannot_be_read_is_invalid(folders: dict[str, Path], raw: str) -> None:
    assert oracle(folders, "gpt2").read(Reply(raw, "m")) == Reading(Verdict.INVALID)


# What is asked, for the record


def test_the_request_holds_all_that_can_change_the_answer(folders: dict[str, Path]) -> None:
    asked = oracle(folders, "llama", chat=True, max_length=40)
    request = dict(asked.request(Comparison(comparison("a", "b").pair, swapped=True, repeat=2)))
    checksum = str(request.pop("model_sha256"))
    assert request == {
        "provider": "transformers", "model": f"LlamaForSequenceClassification@{checksum[:12]}", "score": "reward",
        "max_length": 40, "truncation": "left", "dtype": "float32", "form": "chat", "prompt": "the film was",
        "first": "b", "second": "a", "repeat": 2,
    }  # fmt: skip
    assert dict(oracle(folders, "llama").request(comparison("a", "b")))["form"] == "plain"


def test_another_folder_with_the_same_model_makes_the_same_request(folders: dict[str, Path], copied: Path) -> None:
    shown = comparison("a", "b")
    elsewhere = oracle({"distilbert": copied}, "distilbert", batch_size=2, device="cpu")
    assert elsewhere.request(shown) == oracle(folders, "distilbert").request(shown)
    assert elsewhere.identity() == oracle(folders, "distilbert").identity()


def changed_weights(folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.bias[0] += 1e-3
    model.save_pretrained(folder)


def changed_tokenizer(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"lowercase":true', '"lowercase":false'))
    (folder / "tokenizer.json").write_text(text.replace('"lowercase": true', '"lowercase": false'))


def changed_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"activation": "relu"}))


@pytest.mark.parametrize(
    ("change", "name"),
    [(changed_weights, "weights_sha256"), (changed_tokenizer, "tokenizer_sha256"), (changed_config, "config_sha256")],
)
def test_another_model_makes_another_request(
    folders: dict[str, Path], copied: Path, change: Callable[[Path], None], name: str
) -> None:
    change(copied)
    before, after = (oracle({"distilbert": place}, "distilbert") for place in (folders["distilbert"], copied))
    assert before.request(comparison("a", "b")) != after.request(comparison("a", "b"))
    one, two = dict(before.identity()), dict(after.identity())
    assert [key for key in one if one[key] != two[key]] == [name]


# What is not to be had


def test_pickled_weights_are_not_read(copied: Path) -> None:
    torch.save({}, copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.raises(SpecError, match=r"could not be loaded: .*Only safetensors are read, because pickled weights"):
        oracle({"distilbert": copied}, "distilbert")


def test_pickled_weights_that_the_config_names_are_not_read(copied: Path) -> None:
    torch.save({}, copied / "adapter_model.bin")
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"transformers_weights": "adapter_model.bin"}))
    with pytest.raises(SpecError, match=r"Only safetensors are read"):
        oracle({"distilbert": copied}, "distilbert")


def test_code_that_comes_with_a_model_is_not_run(copied: Path) -> None:
    (copied / "evil.py").write_text("raise SystemExit('ran')")
    config = json.loads((copied / "config.json").read_text())
    del config["model_type"]
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match=r"could not be loaded"):
        oracle({"distilbert": copied}, "distilbert")


def test_a_model_without_a_classification_head_is_refused(copied: Path) -> None:
    """transformers would make up a random one, and warn."""
    seeded(DistilBertModel, distilbert()[0].config).save_pretrained(copied)
    with pytest.raises(SpecError, match=r"has no weights for 'classifier\.bias': it was not saved as a sequence class"):
        oracle({"distilbert": copied}, "distilbert")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_says_what_was_expected(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(SpecError, match=r"could not be loaded: .* Expected config\.json, model\.safetensors and a tok"):
        oracle({"distilbert": copied}, "distilbert")


def test_a_torn_file_of_weights_is_told(copied: Path) -> None:
    (copied / "model.safetensors").write_bytes((copied / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(SpecError, match=r"could not be loaded: .* Expected config\.json, model\.safetensors and a tok"):
        oracle({"distilbert": copied}, "distilbert")


def hub_oracle(**changes: Any) -> HuggingFace:
    return HuggingFace(**{"model": "owner/name", "revision": "0" * 40, "score": "reward", **USUAL, **changes})


@pytest.mark.parametrize("model", ["/no/such/folder", "https://example.org/model", ""])
def test_neither_folder_nor_hub_id(model: str) -> None:
    with pytest.raises(SpecError, match=r"where there is no folder; expected a folder"):
        hub_oracle(model=model)


@pytest.mark.parametrize("revision", [None, "main", "0" * 39])
def test_a_hub_model_needs_a_commit(revision: str | None) -> None:
    with pytest.raises(SpecError, match=r"needs the 40-digit commit"):
        hub_oracle(revision=revision)


def test_a_folder_has_no_revision(folders: dict[str, Path]) -> None:
    with pytest.raises(SpecError, match=r"revision is .*; expected none, because .* is a folder"):
        oracle(folders, "gpt2", revision="0" * 40)


def test_a_hub_out_of_reach_says_how_to_get_the_model() -> None:
    with pytest.raises(SpecError, match=r"'owner/name' could not be loaded: .*The hub has to be within reach, or the"):
        hub_oracle()


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        (
            errors.GatedRepoError,
            "It is gated: accept its terms at https://huggingface.co/owner/name, then hf auth login",
        ),
        (errors.RepositoryNotFoundError, "There is no such model, or it is private"),
        (errors.RevisionNotFoundError, "It has no such commit"),
    ],
)
def test_what_the_hub_refuses_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, kind: type[errors.HfHubHTTPError], remedy: str
) -> None:
    refused = kind("refused", response=SimpleNamespace(headers={}, request=None))  # type: ignore[arg-type]

    def cached_file(*_: Any, **__: Any) -> str:
        raise OSError("You are trying to access it.\nMore lines") from refused

    monkeypatch.setattr("transformers.utils.hub.cached_file", cached_file)
    with pytest.raises(SpecError, match=f"could not be loaded: You are trying to access it. {remedy}"):
        hub_oracle()


def test_without_torch_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, copied: Path) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        SpecError, match=r"the oracle 'hf' needs torch and transformers, and torch is missing; pip inst"
    ):
        oracle({"distilbert": copied}, "distilbert")


# What cannot be


@pytest.mark.parametrize(
    ("kind", "changes", "text"),
    [
        ("distilbert", {"score": "reward"}, r"score is 'reward'; expected .*: 0 NEGATIVE, 1 POSITIVE"),
        ("distilbert", {"score": 2}, r"score is 2; expected .*: 0 NEGATIVE, 1 POSITIVE"),
        ("distilbert", {"score": True}, r"score is True; expected .*: 0 NEGATIVE"),
        ("gpt2", {"score": "positive"}, r"score is 'positive'; expected 'reward', because the model has one output"),
        ("gpt2", {"truncation": "lef"}, r"no truncation side called 'lef'\. Did you mean 'left'"),
        ("gpt2", {"dtype": "float23"}, r"no dtype called 'float23'\. Did you mean 'float32'"),
        ("gpt2", {"device": "gpu"}, r"device is 'gpu'; expected auto, cpu"),
        ("gpt2", {"max_length": 7}, r"max_length is 7; expected a whole number from 8"),
        ("gpt2", {"batch_size": True}, r"batch_size is True; expected a whole number from 1"),
        ("gpt2", {"batch_size": 2}, r"batch_size is 2, and .* has no padding token"),
        ("gpt2", {"chat": True}, r"chat is true, and the tokenizer of .* has no chat template"),
        ("gpt2", {"chat": "yes"}, r"chat is 'yes'; expected true or false"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(
    folders: dict[str, Path], kind: str, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(SpecError, match=text):
        oracle(folders, kind, **changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_told(folders: dict[str, Path]) -> None:
    with pytest.raises(SpecError, match=r"device is 'cuda', and torch finds no CUDA device here"):
        oracle(folders, "gpt2", device="cuda")
