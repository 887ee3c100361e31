"""Any sequence-classification model as an oracle: a sentiment classifier or a scalar reward model, run locally.

The score of a completion is the reward, or the log-odds of the stated label (log p - log(1 - p), nats) or its bare
logit, of prompt and completion as they join, or with `chat` as the tokenizer's chat template writes them. Then

    p_first = sigmoid(score_first - score_second)                        Bradley-Terry, as reward models are trained

Digits: a text's score does not depend on what else is asked. Measured on random DistilBERT and Llama classifiers on a
CPU, in fp32: padding moves a logit by up to 8e-7 and the number of rows by up to 1e-6; among passes of one shape the
place in the batch moves no bit. So every pass has `batch_size` rows of exactly one length, nothing is padded, and
scores are rounded to six digits. One text at a time is the rule: on a CPU more gain a third at most, and lose where
rows have to be filled up. Another `batch_size`, device or version of torch may move the sixth digit, another dtype
more: dtype is in the request, the others are not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from apl_bench.oracles.parameters import whole
from apl_bench.oracles.scores import DIGITS, MAX_SCORE, Scored, read_margin, reply, shown_texts
from apl_bench.oracles.sequence_models import Checkpoint, SequenceModel, load
from apl_bench.protocols import Oracle, Task
from apl_bench.spec import nearest, require
from apl_bench.types import JSON, Comparison, Reading, Reply, SpecError

REWARD = "reward"
LOG_ODDS, LOGIT = SCALES = ("log-odds", "logit")
SIDES = ("left", "right")
PLAIN, CHAT = "plain", "chat"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text's tokens, how many more it had, and how many control tokens were written in it as text."""

    tokens: tuple[int, ...]
    num_dropped: int
    num_special: int


@dataclass(eq=False)
class HuggingFace(Oracle):
    """Prefers the completion with the higher score; equal scores are a tie.

    `model`: a folder, or a hub id with `revision`, its 40-digit commit.
    `score`: "reward" for the one output of a reward model, else the label, by name or index, that is wished for.
    `scale`: of a label, its log-odds (also where nothing is stated) or its logit alone, as the paper's release has it.
    `max_length`: tokens of prompt and completion, special ones included; `truncation`: the side that loses the rest.
    `chat`: prompt as user and completion as assistant, in the tokenizer's chat template.
    `dtype`: float32, bfloat16 or float16; `device`: auto, cpu, cuda, cuda:0; `batch_size`: rows of a pass.
    Raises SpecError where one of them cannot be, or the model is not to be had.
    """

    summary: ClassVar[str] = "a sequence classifier or reward model of transformers, from a folder or the hub; local"
    local: ClassVar[bool] = True

    model: str
    score: str | int
    max_length: int
    truncation: str
    dtype: str
    chat: bool
    revision: str | None = None
    device: str = "auto"
    batch_size: int = 1
    scale: str | None = None
    _loaded: SequenceModel = field(init=False, repr=False)
    _column: int | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        whole("max_length", self.max_length, 8, 1_000_000)
        whole("batch_size", self.batch_size, 1, 10_000)
        require(type(self.chat) is bool, "chat", self.chat, "true or false")
        if self.truncation not in SIDES:
            raise nearest(str(self.truncation), "truncation side", SIDES)
        if self.scale is not None and self.scale not in SCALES:
            raise nearest(str(self.scale), "scale", SCALES)
        self._loaded = load(Checkpoint(self.model, self.revision, self.dtype, self.device))
        self._column = _column(self.score, self._loaded)
        self._require_fit()

    @classmethod
    def defaults(cls, part: str, task: type[Task]) -> Mapping[str, JSON]:
        """fp32, 512 tokens, of which a longer text keeps the last: completions differ at their end."""
        del part, task
        return {"max_length": 512, "truncation": "left", "dtype": "float32", "chat": False}

    def identity(self) -> Mapping[str, JSON]:
        """Where the model came from, its checksums, and versions and a device that can move a last digit."""
        sums = self._loaded.checksums
        return {
            "source": f"{self.model}@{self.revision}" if self.revision else "folder",
            "architecture": self._loaded.architecture,
            "weights_sha256": sums.weights,
            "tokenizer_sha256": sums.tokenizer,
            "config_sha256": sums.config,
            **self._loaded.versions,
            "device": self._loaded.model.device.type,
        }

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        """The model by its checksum (wherever it came from), how texts are made tokens, and the texts as shown."""
        return {
            "provider": "transformers",
            "model": self._name,
            "model_sha256": self._loaded.checksums.whole,
            "score": REWARD if self._column is None else self._column,
            **({"scale": LOGIT} if self.scale == LOGIT else {}),
            "max_length": self.max_length,
            "truncation": self.truncation,
            "dtype": self.dtype,
            "form": CHAT if self.chat else PLAIN,
            **shown_texts(comparison),
        }

    def ask(self, comparisons: Sequence[Comparison]) -> list[Reply]:
        """Both scores of each comparison with their numbers of tokens, as canonical JSON; each text is run once.

        SpecError where a text has no token at all.
        """
        sides = [(item.pair.prompt.text, text) for item in comparisons for text in item.shown]
        distinct = list(dict.fromkeys(sides))
        scored = dict(zip(distinct, self._scored(distinct), strict=True))
        return [reply(self._name, scored[a], scored[b]) for a, b in zip(sides[::2], sides[1::2], strict=True)]

    def read(self, reply: Reply) -> Reading:
        """The higher score wins; p_first = sigmoid(score_first - score_second). Anything but two scores is INVALID."""
        return read_margin(reply)

    def scores(self, prompt: str, completions: Sequence[str]) -> list[float | None]:
        """The score of each completion; None where the model overflows."""
        return [scored.total for scored in self._scored([(prompt, text) for text in completions])]

    def encode(self, prompt: str, completion: str) -> Encoded:
        """The tokens that the model sees. Control tokens in the texts are broken by a space: they are only text."""
        tokenizer = self._loaded.tokenizer
        if self.chat:
            texts, num_special = zip(*map(self._only_text, (prompt, completion)), strict=True)
            roles = zip(("user", "assistant"), texts, strict=True)
            messages = [{"role": role, "content": text} for role, text in roles]
            text, num = str(tokenizer.apply_chat_template(messages, tokenize=False)), sum(num_special)
        else:
            text, num = self._only_text(prompt + completion)
        tokenizer.truncation_side = self.truncation
        options: dict[str, Any] = {"add_special_tokens": not self.chat, "verbose": False}
        whole_text = tokenizer(text, truncation=False, **options)["input_ids"]
        kept = whole_text
        if len(whole_text) > self.max_length:
            kept = tokenizer(text, truncation=True, max_length=self.max_length, **options)["input_ids"]
        if not kept:
            raise SpecError(f"the prompt {prompt!r} with its completion has no tokens; drop it from the task")
        return Encoded(tuple(kept), len(whole_text) - len(kept), num)

    @property
    def _name(self) -> str:
        return f"{self._loaded.architecture}@{self._loaded.checksums.whole[:12]}"

    @cached_property
    def _special(self) -> list[str]:
        return [token for token in self._loaded.special_tokens() if len(token) > 1]

    def _only_text(self, text: str) -> tuple[str, int]:
        """The text with its control tokens broken, and how many there were."""
        num = 0
        for token in self._special:
            num += text.count(token)
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text, num

    def _scored(self, sides: Sequence[tuple[str, str]]) -> list[Scored]:
        encoded = [self.encode(*side) for side in sides]
        outputs = self._loaded.logits([item.tokens for item in encoded], self.batch_size)
        return [self._score(item, logits) for item, logits in zip(encoded, outputs, strict=True)]

    def _score(self, encoded: Encoded, logits: np.ndarray) -> Scored:
        value = self._value(logits)
        total = round(value, DIGITS) if math.isfinite(value) and abs(value) <= MAX_SCORE else None
        pieces = {
            "num_tokens": len(encoded.tokens),
            "num_dropped": encoded.num_dropped,
            "num_special": encoded.num_special,
        }
        return Scored(total, pieces)

    def _value(self, logits: np.ndarray) -> float:
        """The reward, or the log-odds of the label, or its logit; where labels exclude nothing the two are the same."""
        if self._column is None or self.scale == LOGIT or not self._loaded.one_of_many:
            return float(logits[self._column or 0])
        return float(logits[self._column] - np.logaddexp.reduce(np.delete(logits, self._column)))

    def _require_fit(self) -> None:
        """Raise SpecError for what this model cannot do."""
        require(self.scale is None or self._column is not None, "scale", self.scale,
                "nothing, because the model has one output, its reward")  # fmt: skip
        limit = self._loaded.max_length
        require(limit is None or self.max_length <= limit, "max_length", self.max_length,
                f"at most {limit}, which is what {self.model!r} takes")  # fmt: skip
        if self.chat and not getattr(self._loaded.tokenizer, "chat_template", None):
            raise SpecError(f"chat is true, and the tokenizer of {self.model!r} has no chat template; expected false")
        if self.batch_size > 1 and not self._loaded.pads:
            raise SpecError(f"batch_size is {self.batch_size}, and {self.model!r} has no padding token, without which "
                            "it takes one text at a time; expected 1")  # fmt: skip


def _column(score: str | int, loaded: SequenceModel) -> int | None:
    """The output that is the label's, None for the one output of a reward model; SpecError where there is none."""
    labels, listed = loaded.labels, ", ".join(f"{number} {label}" for number, label in enumerate(loaded.labels))
    if len(labels) == 1:
        require(score == REWARD, "score", score, f"{REWARD!r}, because the model has one output")
        return None
    if isinstance(score, int) and not isinstance(score, bool):
        require(0 <= score < len(labels), "score", score, f"one of the model's labels: {listed}")
        return score
    same = [number for number, label in enumerate(labels) if label == score]
    alike = [number for number, label in enumerate(labels) if label.lower() == str(score).lower()]
    found = same or alike
    require(len(found) == 1, "score", score, f"one of the model's labels, by name or number: {listed}")
    return found[0]
