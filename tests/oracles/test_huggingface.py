"""Sequence classifiers and reward models as oracles: scores, conversations, what is cut off, and what is asked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rfc8785
import torch
from transformers import AutoModelForSequenceClassification

from apl_bench.checks import check_oracle
from apl_bench.oracles import sequence_models
from apl_bench.oracles.huggingface import Encoded, HuggingFace
from apl_bench.oracles.sequence_models import Checkpoint, load
from apl_bench.registry import ORACLES
from apl_bench.types import Comparison, Reading, Reply, SpecError, Verdict
from tests.oracles.checkpoints import KINDS, answer, comparison, oracle, outputs

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


def test_a_label_may_score_by_its_logit_alone_as_in_the_papers_release(folders: dict[str, Path]) -> None:
    asked, plain = oracle(folders, "distilbert", scale="logit"), oracle(folders, "distilbert")
    found = answer(asked, comparison(" great", " bad"))
    for place, text in (("first", "the film was great"), ("second", "the film was bad")):
        assert found[f"score_{place}"] == pytest.approx(outputs(folders["distilbert"], text)[1], abs=2e-6)
    shown = comparison(" great", " bad")
    assert dict(asked.request(shown)) == {**plain.request(shown), "scale": "logit"}
    assert dict(oracle(folders, "distilbert", scale="log-odds").request(shown)) == dict(plain.request(shown))


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
@pytest.mark.usefixtures("two_threads")
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


@pytest.fixture
def two_threads() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(num_threads)


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
