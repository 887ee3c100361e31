"""A DPO epoch against TRL's DPOTrainer (with precomputed reference log-probabilities) and the reference procedure.

The reference procedure is the textbook update: two policy and two reference forwards with full logits.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, PrinterCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from apl_bench.engine import dpo, scoring
from apl_bench.engine.network import Network
from apl_bench.spec import TrainingSpec
from benchmarks import shapes

BETA = 0.2
RATE = 1e-6


def contenders(shape: shapes.Shape) -> dict[str, Callable[[], None]]:
    """Each trains a fresh copy of the same model for one epoch on the same token ids; copying is part of all."""
    prompts, chosen, rejected = shapes.pairs(shape)
    model = shapes.build(shape)
    trl = prepare_trl(shape, prompts, chosen, rejected)
    return {
        "apl-bench": apl_bench(shape, prompts, chosen, rejected),
        "TRL DPOTrainer, precomputed reference": trl,
        "two policy + two reference forwards, full logits": lambda: textbook(
            model, list(zip(prompts, chosen, rejected, strict=True)), shape.batch_size
        ),
    }


def apl_bench(shape: shapes.Shape, prompts: Any, chosen: Any, rejected: Any) -> Callable[[], None]:
    """The engine's training loop, its reference log-probabilities computed beforehand as in a run."""
    network = Network(shapes.build(shape), mixed=False)
    reference = [scoring.logp(network, scoring.Sequences(prompts, side)) for side in (chosen, rejected)]
    pairs = dpo.TokenPairs(prompts, chosen, rejected, *reference)
    training = TrainingSpec(RATE, BETA, shape.batch_size, 1, 0.9, 0.999, 1e-8, 1.0)

    def work() -> None:
        dpo.train(network.copy(("benchmark",)), pairs, training, ("benchmark",))

    return work


class _TokenisedTrainer(DPOTrainer):
    """TRL's trainer on token ids as they are, so that all contenders train on the same ones."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


def prepare_trl(shape: shapes.Shape, prompts: Any, chosen: Any, rejected: Any) -> Callable[[], None]:
    """TRL's `train` for an epoch; building the trainer and its reference log-probabilities is not measured."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    data = datasets.Dataset.from_dict({"prompt_ids": prompts, "chosen_ids": chosen, "rejected_ids": rejected})
    config = DPOConfig(
        output_dir=tempfile.gettempdir(), per_device_train_batch_size=shape.batch_size, num_train_epochs=1,
        learning_rate=RATE, lr_scheduler_type="constant", beta=BETA, precompute_ref_log_probs=True, use_cpu=True,
        bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no", logging_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    initial = shapes.build(shape)
    trainer = _TokenisedTrainer(copy.deepcopy(initial), args=config, train_dataset=data, processing_class=_tokenizer())
    trainer.remove_callback(PrinterCallback)

    def work() -> None:
        model: Any = trainer.model
        model.load_state_dict(initial.state_dict())
        trainer.optimizer = trainer.lr_scheduler = None
        trainer.train()

    return work


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {f"t{index}": index for index in range(shapes.VOCABULARY)}
    backend = Tokenizer(WordLevel(words, "t1"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="t0", pad_token="t0")  # type: ignore[no-untyped-call]


def textbook(model: Any, triples: Sequence[Any], batch_size: int) -> None:
    """One epoch, with the model itself as reference."""
    policy = copy.deepcopy(model)
    optimizer = torch.optim.Adam(policy.parameters(), lr=RATE)
    order = np.random.default_rng(0).permutation(len(triples))
    for start in range(0, len(triples), batch_size):
        prompts, chosen, rejected = zip(*(triples[row] for row in order[start : start + batch_size]), strict=True)
        with torch.no_grad():
            reference = full_logp(model, prompts, chosen) - full_logp(model, prompts, rejected)
        margin = full_logp(policy, prompts, chosen) - full_logp(policy, prompts, rejected)
        loss = torch.nn.functional.softplus(-BETA * (margin - reference)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()


def full_logp(model: Any, prompts: Sequence[Any], completions: Sequence[Any]) -> torch.Tensor:
    """Summed log-probability of each completion, from the logits of every position."""
    sequences = [torch.tensor([*prompt, *completion]) for prompt, completion in zip(prompts, completions, strict=True)]
    ids = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(sequence) for sequence in sequences], batch_first=True)
    logp: torch.Tensor = (
        model(ids, attention_mask=mask).logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    )
    first = torch.tensor([len(prompt) - 1 for prompt in prompts])
    wanted = mask[:, 1:].bool() & (torch.arange(ids.shape[1] - 1) >= first[:, None])
    summed: torch.Tensor = (logp * wanted).sum(1)
    return summed
