"""Small sequence classifiers and reward models with random weights, saved and loaded as any are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from apl_bench.oracles.huggingface import HuggingFace
from apl_bench.types import Comparison, Completion, Pair, Prompt
from tests.engine.tiny import with_seed
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


def distilbert() -> tuple[Any, Any]:
    tokenizer = word_tokenizer()
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=64, **SENTIMENT
    )
    return with_seed(DistilBertForSequenceClassification, config), tokenizer


def roberta() -> tuple[Any, Any]:
    """Three labels; positions count from the one after the padding's, so that 64 of them take 62 tokens."""
    special = ["<s>", "<pad>", "</s>"]
    tokenizer = byte_tokenizer(special, ends=True, bos_token="<s>", pad_token="<pad>", eos_token="</s>")
    labels = {0: "negative", 1: "neutral", 2: "positive"}
    config = RobertaConfig(vocab_size=len(tokenizer), pad_token_id=1, id2label=labels, **SHAPE)
    return with_seed(RobertaForSequenceClassification, config), tokenizer


def gpt2() -> tuple[Any, Any]:
    """A reward model that nobody gave a padding token."""
    tokenizer = byte_tokenizer(["<|endoftext|>"], eos_token="<|endoftext|>")
    config = GPT2Config(vocab_size=len(tokenizer), **SMALL)
    return with_seed(GPT2ForSequenceClassification, config), tokenizer


def llama() -> tuple[Any, Any]:
    """A reward model of conversations."""
    special = ["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"]
    tokenizer = byte_tokenizer(special, pad_token="<|pad|>", eos_token="<|end|>")
    tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, num_key_value_heads=2, **{**SHAPE, "num_labels": 1})
    return with_seed(LlamaForSequenceClassification, config), tokenizer


KINDS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "distilbert": distilbert, "roberta": roberta, "gpt2": gpt2, "llama": llama,
}  # fmt: skip
SCORES: dict[str, str] = {"distilbert": "positive", "roberta": "positive", "gpt2": "reward", "llama": "reward"}


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
