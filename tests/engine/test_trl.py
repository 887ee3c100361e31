"""Loss, gradients and updates equal those of TRL's DPOTrainer on the same token ids in the same order."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import SequentialSampler
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from apl_bench.engine import dpo, scoring
from apl_bench.engine.network import Network
from tests.engine import tiny

BATCH, UPDATES = 4, 5
# No default of torch's Adam among them, so that a setting which is not passed on is found. Epsilon is as large because
# GPT-2's key biases have a gradient of 0, and with a smaller one Adam would make steps of its rounding.
TRAINING = tiny.training(
    learning_rate=2e-3, beta=0.3, batch_size=BATCH, epochs=1, adam_beta1=0.8, adam_beta2=0.99, adam_epsilon=1e-5,
    max_grad_norm=0.5,
)  # fmt: skip


class Peer(DPOTrainer):
    """TRL's trainer on token ids as they are, in order; keeps each update's loss and its gradients before clipping."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.losses: list[float] = []
        self.gradients: list[dict[str, torch.Tensor]] = []

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _get_train_sampler(self, *_: Any) -> Any:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def training_step(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(model, *args, **kwargs)  # type: ignore[no-untyped-call]
        self.losses.append(float(loss))
        self.gradients.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
        return loss


def train_peer(model: Any, sequences: tuple[Any, Any, Any], folder: Path) -> Peer:
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    data = datasets.Dataset.from_dict(dict(zip(names, sequences, strict=True)))
    config = DPOConfig(
        output_dir=str(folder), per_device_train_batch_size=BATCH, num_train_epochs=1, beta=TRAINING.beta,
        learning_rate=TRAINING.learning_rate, max_grad_norm=TRAINING.max_grad_norm, lr_scheduler_type="constant",
        weight_decay=0.0, optim="adamw_torch",
        adam_beta1=TRAINING.adam_beta1, adam_beta2=TRAINING.adam_beta2, adam_epsilon=TRAINING.adam_epsilon,
        use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
        save_strategy="no", logging_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    peer = Peer(
        copy.deepcopy(model), ref_model=copy.deepcopy(model), args=config, train_dataset=data,
        processing_class=tiny.tokenizer().inner,
    )  # fmt: skip
    peer.train()
    return peer


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_five_updates(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sides = [[tiny.tokens(rng, int(rng.integers(2, 12))) for _ in range(BATCH * UPDATES)] for _ in range(3)]
    prompts, chosen, rejected = sides
    model = tiny.KINDS[kind]()
    network = Network(copy.deepcopy(model), mixed=False)
    reference = [scoring.logp(network, scoring.Sequences(prompts, side)) for side in (chosen, rejected)]
    pairs = dpo.TokenPairs(prompts, chosen, rejected, *reference)
    peer = train_peer(model, (prompts, chosen, rejected), tmp_path)
    optimizer = dpo.new_optimizer(network, TRAINING)
    assert len(peer.losses) == UPDATES
    for step in range(UPDATES):
        batch = pairs.take(range(BATCH * step, BATCH * (step + 1)))
        loss = dpo.compute_gradient(network, batch, TRAINING.beta)
        assert loss == pytest.approx(peer.losses[step], abs=1e-5)
        for name, weight in network.parameters.items():
            assert weight.grad is not None
            torch.testing.assert_close(weight.grad, peer.gradients[step][name], rtol=0, atol=1e-5)
        dpo.update(network, batch, TRAINING, optimizer)
    assert peer.losses[-1] != pytest.approx(peer.losses[0], abs=1e-3)
    trained = dict(peer.model.named_parameters())  # type: ignore[union-attr]
    for name, weight in network.parameters.items():
        torch.testing.assert_close(weight, trained[name], rtol=0, atol=1e-5)
