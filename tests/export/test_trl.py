"""TRL's own code takes an export: its formats, its tokenization, an update of its DPOTrainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
from trl.data_utils import is_conversational
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from apl_bench.engine.models import load_model
from apl_bench.export.dataset import Wanted, export_preferences
from apl_bench.export.preferences import Style
from apl_bench.records import Run
from tests.engine import tiny
from tests.test_replay import GOLDEN

TEMPLATE = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"


def trained(folder: Path, style: Style) -> tuple[Any, Any]:
    """The data set as DPOTrainer prepared it, after one update on it, and the tokenizer."""
    export_preferences([Run(GOLDEN)], Wanted(folder / "out", style=style))
    data = datasets.load_dataset(str(folder / "out"), split="train", cache_dir=str(folder / "cache"))
    tokenizer = tiny.tokenizer().inner
    tokenizer.chat_template = TEMPLATE
    config = DPOConfig(
        output_dir=str(folder / "trained"), max_steps=1, per_device_train_batch_size=8, use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True,
        dataloader_pin_memory=False, max_length=None,
    )  # fmt: skip
    trainer = DPOTrainer(
        tiny.llama(), ref_model=tiny.llama(), args=config, train_dataset=data, processing_class=tokenizer
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses == [pytest.approx(0.6931, abs=1e-3)]  # log 2: before the first update both policies are the same
    return trainer.train_dataset, tokenizer


def test_plain_texts_are_trained_on_as_the_policy_saw_them(tmp_path: Path) -> None:
    prepared, tokenizer = trained(tmp_path, "plain")
    assert len(prepared) == 8
    for row in prepared:
        assert not is_conversational(row)
        for side in ("chosen", "rejected"):
            text = row[side].removesuffix("<eos>")  # TRL's, which ends every completion with it
            ids = row["prompt_ids"] + row[f"{side}_ids"]
            assert tokenizer.decode(row["prompt_ids"]) == row["prompt"]
            assert tokenizer.decode(ids) == f"{row['prompt']}{text}<eos>"


def test_conversations_go_through_the_chat_template(tmp_path: Path) -> None:
    prepared, tokenizer = trained(tmp_path, "conversational")
    for row in prepared:
        assert is_conversational(row)
        expected = f"<user>{row['prompt'][0]['content']}<assistant>{row['rejected'][0]['content']}"
        assert tokenizer.decode(row["prompt_ids"] + row["rejected_ids"]) == expected


def test_prompt_and_completion_together_are_what_the_policy_wrote(tmp_path: Path) -> None:
    run = Run(GOLDEN)
    export_preferences([run], Wanted(tmp_path / "out"))
    _, tokenizer = load_model(run.spec.policy)
    for row in datasets.Dataset.from_json(
        str(tmp_path / "out" / "data" / "train.jsonl"), cache_dir=str(tmp_path / "c")
    ):
        for side in ("chosen", "rejected"):
            assert (
                tokenizer.decode(tokenizer.encode(row["prompt"]) + row[f"{side}_token_ids"])
                == row["prompt"] + row[side]
            )
