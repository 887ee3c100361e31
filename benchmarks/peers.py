"""What else one would train with: TRL's DPOTrainer, and the textbook's update. Imports TRL."""

from __future__ import annotations

import copy
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PrinterCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.utils import selective_log_softmax

from apl_bench.benchmarks import shapes
from apl_bench.benchmarks.plan import Turn


@dataclass(frozen=True)
class ReferenceLogps:
    """Summed log-probabilities of each pair's completions under the reference, nats."""

    chosen: Sequence[float]
    rejected: Sequence[float]


class Trainer(DPOTrainer):
    """TRL's trainer on token ids as they are, so that all contenders train on the same ones.

    Where the data have the reference's log-probabilities they are taken from there, as TRL's collator allows.
    """

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *args: Any) -> Any:
        known = "ref_chosen_logps" in dataset.column_names
        return dataset if known else super()._precompute_ref_logps(dataset, *args)


def trainer(shape: shapes.Shape, model: Any, pairs: shapes.Pairs, reference: ReferenceLogps, epochs: int) -> Trainer:
    """A trainer that changes `model`, with settings equal to ours."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    os.environ.setdefault("TQDM_DISABLE", "1")
    datasets.disable_progress_bars()
    columns = {"prompt_ids": pairs.prompts, "chosen_ids": pairs.chosen, "rejected_ids": pairs.rejected,
               "ref_chosen_logps": reference.chosen, "ref_rejected_logps": reference.rejected}  # fmt: skip
    training = shape.training
    config = DPOConfig(
        output_dir=tempfile.gettempdir(), per_device_train_batch_size=training.batch_size, num_train_epochs=epochs,
        learning_rate=training.learning_rate, lr_scheduler_type="constant", beta=training.beta, weight_decay=0.0,
        adam_beta1=training.adam_beta1, adam_beta2=training.adam_beta2, adam_epsilon=training.adam_epsilon,
        max_grad_norm=training.max_grad_norm, precompute_ref_log_probs=True, use_cpu=shape.device == "cpu",
        bf16=shape.mixed, gradient_checkpointing=False, report_to="none", save_strategy="no", logging_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=shape.device != "cpu",
    )  # fmt: skip
    tokenizer = shapes.tokenizer(shape.config.vocab_size)
    made = Trainer(model, args=config, train_dataset=datasets.Dataset.from_dict(columns), processing_class=tokenizer)
    made.remove_callback(PrinterCallback)
    return made


def train(made: Trainer, num_tokens: int) -> Turn:
    """TRL's own loop."""
    output = made.train()
    return Turn(num_tokens, output.global_step, output.training_loss)


def textbook(theta_0: Any, theta: Any, pairs: shapes.Pairs, shape: shapes.Shape) -> Turn:
    """One epoch of the reference procedure: two policy and two reference forwards an update, with full logits."""
    policy, training = copy.deepcopy(theta), shape.training
    optimizer = torch.optim.Adam(policy.parameters(), lr=training.learning_rate)
    triples = list(zip(pairs.prompts, pairs.chosen, pairs.rejected, strict=True))
    order = np.random.default_rng(0).permutation(len(triples))
    losses = []
    for start in range(0, len(triples), training.batch_size):
        prompts, *sides = zip(*(triples[row] for row in order[start : start + training.batch_size]), strict=True)
        with torch.autocast(shape.device, dtype=torch.bfloat16, enabled=shape.mixed):
            with torch.no_grad():
                reference = [full_logp(theta_0, prompts, side) for side in sides]
            chosen, rejected = (full_logp(policy, prompts, side) for side in sides)
        margin = chosen - rejected - (reference[0] - reference[1])
        loss = torch.nn.functional.softplus(-training.beta * margin).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(policy.parameters(), training.max_grad_norm)
        optimizer.step()
        losses.append(loss.item())
    return Turn(pairs.num_tokens, len(losses), float(np.mean(losses)))


def full_logp(model: Any, prompts: Sequence[shapes.Tokens], completions: Sequence[shapes.Tokens]) -> torch.Tensor:
    """Summed log-probability of each completion, from the logits of every position."""
    sequences = [torch.tensor([*prompt, *completion]) for prompt, completion in zip(prompts, completions, strict=True)]
    ids = pad_sequence(sequences, batch_first=True).to(model.device)
    mask = pad_sequence([torch.ones_like(sequence) for sequence in sequences], batch_first=True).to(model.device)
    logits = model(ids, attention_mask=mask).logits[:, :-1]
    logp = logits.float().log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    first = torch.tensor([len(prompt) - 1 for prompt in prompts], device=model.device)
    wanted = mask[:, 1:].bool() & (torch.arange(ids.shape[1] - 1, device=model.device) >= first[:, None])
    summed: torch.Tensor = (logp * wanted).sum(1)
    return summed


@torch.inference_mode()
def tail_logp(model: Any, ids: torch.Tensor, mask: torch.Tensor, num_new: int) -> torch.Tensor:
    """Summed log-probability of each row's last `num_new` positions, as TRL's online trainers compute it: the head on
    these positions only, and its `selective_log_softmax`."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(ids, attention_mask=mask, position_ids=positions, logits_to_keep=num_new + 1).logits[:, :-1]
    logp = selective_log_softmax(logits.float(), ids[:, -num_new:])
    summed: torch.Tensor = (logp * mask[:, -num_new:]).sum(1)
    return summed
