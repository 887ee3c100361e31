"""The shapes that are measured: a model with random weights, and prompts and completions of random tokens."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast

from apl_bench.engine.sampling import Draw
from apl_bench.spec import TrainingSpec
from apl_bench.types import LengthBounds

EOS = 0
WORDS = 4096  # tokens that prompts and completions are drawn from
NOISE = 1e-2  # standard deviation of what a policy's weights differ from the reference's
BETA, RATE = 0.2, 1e-6

Tokens: TypeAlias = "tuple[int, ...]"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Shortest and longest prompt and completion, in tokens; both ends included, all lengths between equally often."""

    prompt: tuple[int, int]
    completion: tuple[int, int]

    @property
    def mean_completion(self) -> int:
        """The length in the middle."""
        return sum(self.completion) // 2


IMDB = Lengths((8, 16), (16, 24))  # 12 + 20 tokens; paper, table 1
TLDR = Lengths((160, 240), (32, 48))  # 200 + 40: posts of some 600 characters, and summaries as people write them
LONGEST = Lengths((160, 240), (128, 128))  # as long as the paper lets a summary get


@dataclass(frozen=True, slots=True)
class StepSizes:
    """An acquisition step of `entropy+certainty`: S prompts kept of J * S, N entropy samples each, M labels, epochs."""

    num_prompts: int
    oversample: int
    num_entropy_samples: int
    num_labels: int
    num_epochs: int


@dataclass(frozen=True, slots=True)
class Shape:
    """A model by its config, the lengths, on how many pairs and prompts it is measured, and where."""

    name: str
    summary: str
    config: Any
    lengths: Lengths
    num_pairs: int
    batch_size: int
    num_prompts: int
    step: StepSizes
    device: str = "cpu"
    mixed: bool = False

    @property
    def training(self) -> TrainingSpec:
        """One epoch; steps so small that the order of the mini-batches cannot be seen in the loss."""
        return TrainingSpec(RATE, BETA, self.batch_size, 1, 0.9, 0.999, 1e-8, 1.0)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Prompts with their chosen and rejected completions, as token ids."""

    prompts: Sequence[Tokens]
    chosen: Sequence[Tokens]
    rejected: Sequence[Tokens]

    @property
    def num_tokens(self) -> int:
        """A prompt counted with each of its two completions."""
        return 2 * sum(map(len, self.prompts)) + sum(map(len, self.chosen)) + sum(map(len, self.rejected))


def lite() -> Shape:
    """The shipped policy's size, on the lengths of IMDB."""
    config = GPT2Config(
        vocab_size=WORDS, n_positions=64, n_embd=192, n_layer=6, n_head=6, activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=EOS,
    )  # fmt: skip
    summary = "GPT-2 with 3.5M parameters, prompts of 8-16 tokens, completions of 16-24"
    return Shape("lite", summary, config, IMDB, 128, 64, 256, StepSizes(64, 8, 8, 32, 4))


def smollm2_imdb() -> Shape:
    """The size of SmolLM2-135M, on the same lengths."""
    summary = "Llama with 135M parameters, prompts of 8-16 tokens, completions of 16-24"
    return Shape("smollm2-imdb", summary, _smollm2(), IMDB, 64, 32, 16, StepSizes(16, 4, 8, 8, 2))


def smollm2_tldr() -> Shape:
    """The same model on posts and summaries."""
    summary = "Llama with 135M parameters, prompts of 160-240 tokens, completions of 32-48"
    return Shape("smollm2-tldr", summary, _smollm2(), TLDR, 16, 8, 8, StepSizes(8, 4, 8, 4, 2))


def smollm2_longest() -> Shape:
    """The same model on posts with the longest completions that the paper allows."""
    summary = "Llama with 135M parameters, prompts of 160-240 tokens, completions of 128"
    return Shape("smollm2-longest", summary, _smollm2(), LONGEST, 16, 8, 8, StepSizes(8, 4, 8, 4, 2))


def _smollm2() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, tie_word_embeddings=True, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=EOS,
    )  # fmt: skip


SHAPES: dict[str, Callable[[], Shape]] = {
    "lite": lite,
    "smollm2-imdb": smollm2_imdb,
    "smollm2-tldr": smollm2_tldr,
    "smollm2-longest": smollm2_longest,
}


def build(shape: Shape) -> Any:
    """theta_0: the model in fp32, without dropout, with weights drawn from a fixed seed."""
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(shape.config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    return model.eval().to(shape.device)


def nudged(model: Any) -> Any:
    """theta_t: a copy whose weights differ a little, always in the same way, so that rewards are not all 0."""
    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.add_(NOISE * torch.randn(weight.shape, generator=generator).to(weight.device))
    return twin


@functools.cache
def tokenizer(num_tokens: int) -> PreTrainedTokenizerFast:
    """A word a token, t7 for token 7, between spaces."""
    words = {f"t{index}": index for index in range(num_tokens)}
    backend = Tokenizer(models.WordLevel(words, "t1"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="t0", pad_token="t0")  # type: ignore[no-untyped-call]


def text(tokens: Tokens) -> str:
    """What the tokenizer makes these tokens of."""
    return " ".join(f"t{token}" for token in tokens)


def random_texts(rng: np.random.Generator, num: int, between: tuple[int, int]) -> list[Tokens]:
    """`num` texts of random tokens, none of them EOS; lengths spread evenly over the range, in random order."""
    lengths = rng.permutation(np.linspace(*between, num).round().astype(int)) if num > 1 else [sum(between) // 2]
    return [tuple(rng.integers(1, WORDS, length).tolist()) for length in lengths]


def prompts(shape: Shape, num: int) -> list[Tokens]:
    """Prompts of the shape's lengths."""
    return random_texts(np.random.default_rng(0), num, shape.lengths.prompt)


def draws(shape: Shape, num_each: int, own_maximum: bool) -> list[Draw]:
    """`num_each` completions for each prompt; with a maximum of each prompt's own, as in the task `imdb`, or all of
    the mean length."""
    rows = prompts(shape, shape.num_prompts)
    low, high = shape.lengths.completion
    mean = shape.lengths.mean_completion
    maxima = np.random.default_rng(1).permutation(np.linspace(low, high, len(rows)).round().astype(int)).tolist()
    bounds = [LengthBounds(low, maximum) if own_maximum else LengthBounds(mean, mean) for maximum in maxima]
    return [
        Draw(prompt, bounds[row], (0, "benchmark", row, k)) for row, prompt in enumerate(rows) for k in range(num_each)
    ]


def pairs(shape: Shape, num: int) -> Pairs:
    """Labelled pairs of the shape's lengths."""
    rng = np.random.default_rng(2)
    sides = (shape.lengths.prompt, shape.lengths.completion, shape.lengths.completion)
    return Pairs(*(random_texts(rng, num, between) for between in sides))
