"""The models and datasets of the paper's presets in a cache of the hub: tiny, random, in the files that the real ones
have.

Those of 2023 and before: weights in pytorch_model.bin with buffers that today's models lack, config.json with names of
settings that have changed since, and a tokenizer_config.json that names the class of its time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pyarrow import Table, parquet
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
)

from apl_bench.tasks import posts, reviews
from apl_bench.tasks.sources import HubDataset
from tests.engine.tiny import EOS, SHARED, VOCABULARY, tokenizer, with_seed
from tests.fake_hub import cached
from tests.oracles.checkpoints import SENTIMENT, word_tokenizer

GPT2, PYTHIA, DISTILBERT = "edbeeching/gpt2-large-imdb", "pvduy/pythia-1B-sft-summarize-tldr", "lvwerra/distilbert-imdb"
COMMIT, DISTILBERT_COMMIT = "c0" * 20, "0fc02cd68445b599a9cb2da2368050e7fb31d29a"  # the second is the preset's

_WORDS = ("good", "bad", "great", "poor", "film", "plot", "actor", "scene", "music", "end", "story", "camera")


def gpt2() -> Any:
    """GPT-2 with room for a review's opening."""
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=EOS, eos_token_id=EOS
    )
    return with_seed(GPT2LMHeadModel, config)


def pythia() -> Any:
    """GPT-NeoX with room for a post of 999 letters."""
    return with_seed(GPTNeoXForCausalLM, GPTNeoXConfig(**{**SHARED, "max_position_embeddings": 2048}))


def distilbert() -> Any:
    """DistilBERT with the real one's labels and length."""
    config = DistilBertConfig(
        vocab_size=len(word_tokenizer()), dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=512,
        **SENTIMENT,
    )  # fmt: skip
    return with_seed(DistilBertForSequenceClassification, config)


def write_gpt2(folder: Path) -> None:
    """As edbeeching/gpt2-large-imdb has it."""
    buffers = {"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.bool),
               "transformer.h.0.attn.masked_bias": torch.tensor(-1e4)}  # fmt: skip
    model = gpt2()
    _write_pickled(folder, model, buffers)
    tokenizer().inner.save_pretrained(folder)
    _write(folder, "tokenizer_config.json", {
        "add_prefix_space": False, "bos_token": "<eos>", "eos_token": "<eos>", "model_max_length": 1024,
        "name_or_path": "gpt2-large", "special_tokens_map_file": None, "tokenizer_class": "GPT2Tokenizer",
        "unk_token": "<eos>",
    })  # fmt: skip


def write_pythia(folder: Path) -> None:
    """As pvduy/pythia-1B-sft-summarize-tldr has it."""
    buffers = {"gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 8, 8, dtype=torch.bool),
               "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9),
               "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(1)}  # fmt: skip
    _write_pickled(folder, pythia(), buffers)
    _write(folder, "config.json", {
        "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": EOS, "eos_token_id": EOS, "hidden_act": "gelu",
        "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 64, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 2048, "model_type": "gpt_neox", "num_attention_heads": 4, "num_hidden_layers": 2,
        "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False, "torch_dtype": "float32",
        "transformers_version": "4.26.1", "use_cache": True, "use_parallel_residual": True, "vocab_size": VOCABULARY,
    })  # fmt: skip
    tokenizer().inner.save_pretrained(folder)
    _write(folder, "tokenizer_config.json", {
        "add_prefix_space": False, "bos_token": "<eos>", "eos_token": "<eos>",
        "model_max_length": 1000000000000000019884624838656, "name_or_path": "EleutherAI/pythia-1b",
        "special_tokens_map_file": "/nowhere/special_tokens_map.json", "tokenizer_class": "GPTNeoXTokenizer",
        "unk_token": "<eos>",
    })  # fmt: skip


def write_distilbert(folder: Path) -> None:
    """As lvwerra/distilbert-imdb has it."""
    _write_pickled(folder, distilbert(), {})
    word_tokenizer().save_pretrained(folder)
    _write(folder, "tokenizer_config.json", {
        "cls_token": "[CLS]", "do_lower_case": True, "mask_token": "[MASK]", "model_max_length": 512,
        "name_or_path": "distilbert-base-uncased", "pad_token": "[PAD]", "sep_token": "[SEP]",
        "special_tokens_map_file": None, "strip_accents": None, "tokenize_chinese_chars": True,
        "tokenizer_class": "DistilBertTokenizer", "unk_token": "[UNK]",
    })  # fmt: skip


def write(cache: Path, scratch: Path) -> None:
    """The three models, as `main` at their commits, and 30 reviews and posts for each split."""
    writers = {GPT2: (COMMIT, write_gpt2), PYTHIA: (COMMIT, write_pythia),
               DISTILBERT: (DISTILBERT_COMMIT, write_distilbert)}  # fmt: skip
    for model, (commit, write_model) in writers.items():
        folder = scratch / model
        folder.mkdir(parents=True)
        write_model(folder)
        cached(cache, model, commit, folder)
    write_datasets(cache, 30)


def write_datasets(cache: Path, num: int) -> None:
    """`num` reviews and `num` posts for each split, at the commits that are known to be good."""
    sentences = [" ".join(f"{word}{number}" for word in _WORDS) for number in range(2 * num)]
    labelled = [
        {"text": f"{text}.<br /><br />{text * 3}", "label": number % 2} for number, text in enumerate(sentences)
    ]
    _write_dataset(cache, reviews.HUB, {"train": labelled[:num], "test": labelled[num:]})
    told = [
        {"prompt": posts.published("cats", f"Cat {number}", f"{text} {text} {text}"), "label": f"Of {text[:40]}."}
        for number, text in enumerate(sentences)
    ]
    _write_dataset(cache, posts.HUB, {"train": told[:num], "test": told[num:]})


def _write_dataset(cache: Path, dataset: HubDataset[Any], splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    repository = cache / f"datasets--{dataset.repository.replace('/', '--')}"
    for split, file in dataset.files.items():
        path = repository / "snapshots" / dataset.revision / file
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(Table.from_pylist([dict(row) for row in splits[split]]), path)


def _write_pickled(folder: Path, model: Any, buffers: Mapping[str, torch.Tensor]) -> None:
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save({**model.state_dict(), **buffers}, folder / "pytorch_model.bin")


def _write(folder: Path, name: str, table: Mapping[str, Any]) -> None:
    (folder / name).write_text(json.dumps(table, indent=2))
