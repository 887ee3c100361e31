"""Pairs as a task's real prompts make them, to measure calls by; without the policy and without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from apl_bench.planning.standing import Standing
from apl_bench.planning.units import PARTS
from apl_bench.protocols import Split, Task, Tokenizer
from apl_bench.registry import TASKS
from apl_bench.spec import PolicySpec, RunSpec, require
from apl_bench.types import Completion, LengthBounds, Pair, Prompt

NUM_SAMPLED = 200
SHIPPED = "shipped:"
_SPLITS: Mapping[str, Split] = {"oracle": "train", "judge": "test"}
_WORD = re.compile(r"\s*\S{1,6}")  # about as long as a token of English


@dataclass(frozen=True)
class Texts:
    """Pairs to measure by: as long as they are expected to be, and as long as the task lets them be; and where both
    are from."""

    expected: Sequence[Pair]
    longest: Sequence[Pair]
    basis: str


class FileTokenizer:
    """A tokenizer.json, read without transformers: the policy's own tokens."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer as Inner

        self._inner: Any = Inner.from_file(str(path))

    def encode(self, text: str) -> list[int]:
        """The text's tokens."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The tokens' text, special tokens included."""
        return str(self._inner.decode(list(token_ids), skip_special_tokens=False))


class PieceTokenizer:
    """Stands in for a tokenizer that is not on this machine: pieces of up to six letters with the space before them."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._pieces: list[str] = []

    def encode(self, text: str) -> list[int]:
        """The text's pieces, by number."""
        return [self._id(piece) for piece in _WORD.findall(text)]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The pieces, joined."""
        return "".join(self._pieces[number] for number in token_ids)

    def _id(self, piece: str) -> int:
        if piece not in self._ids:
            self._ids[piece] = len(self._pieces)
            self._pieces.append(piece)
        return self._ids[piece]


def tokenizer_file(policy: PolicySpec) -> Path | None:
    """The policy's tokenizer.json, shipped, in its folder or in the hub's cache; None where there is none."""
    if policy.model.startswith(SHIPPED):
        with as_file(files("apl_bench.tasks") / "models") as folder:
            path = folder / policy.model.removeprefix(SHIPPED) / "tokenizer.json"
    else:
        path = Path(policy.model).expanduser() / "tokenizer.json"
    return path if path.is_file() else _in_hub_cache(policy)


def _in_hub_cache(policy: PolicySpec) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(policy.model, "tokenizer.json", revision=policy.revision)
    except HFValidationError:  # no id of the hub: the run will say so
        return None
    return Path(found) if isinstance(found, str) else None


def load(spec: RunSpec, standing: Standing) -> dict[str, Texts]:
    """Texts for the oracle and for the judge. Raises SpecError where the task's source is not there, or has too few
    prompts."""
    task: Task = TASKS.create(spec.task.name, spec.task.params)
    path = tokenizer_file(spec.policy)
    tokenizer: Tokenizer = FileTokenizer(path) if path else PieceTokenizer()
    prompts = {part: task.prompts(_SPLITS[part], tokenizer) for part in PARTS}
    if path:  # with other tokens there may be a few more prompts, or fewer
        num, held_out = spec.evaluation.num_prompts, len(prompts["judge"])
        require(held_out >= num, "evaluation.num_prompts", num, f"at most the {held_out} held-out prompts")
    cut = "cut by the policy's own tokenizer" if path else (
        f"cut to pieces of letters, as the tokenizer of {spec.policy.model!r} is not on this machine")  # fmt: skip
    return {part: _texts(task, prompts[part], tokenizer, standing.some_pairs(part, NUM_SAMPLED), cut) for part in PARTS}


def _texts(task: Task, prompts: Sequence[Prompt], tokenizer: Tokenizer, recorded: Sequence[Pair], cut: str) -> Texts:
    sampled = prompts[:: max(1, len(prompts) // NUM_SAMPLED)][:NUM_SAMPLED]
    lengths = [len(prompt.text) / max(1, len(tokenizer.encode(prompt.text))) for prompt in sampled]
    mean, most = sum(lengths) / len(lengths), max(lengths)
    longest = [filled(prompt, task.bounds(prompt), most) for prompt in sampled]
    limits = f"{len(sampled)} prompts of the task, {cut}"
    if recorded:
        return Texts(recorded, longest, f"{len(recorded)} recorded pairs; at most: {limits}")
    full = [filled(prompt, task.bounds(prompt), mean) for prompt in sampled]
    return Texts(full, longest, f"{limits}, with completions of the most tokens (no run like these is recorded)")


def filled(prompt: Prompt, bounds: LengthBounds, characters_per_token: float) -> Pair:
    """Two completions of the most tokens that the bounds allow, in letters that mean nothing."""
    num = bounds.max_new_tokens
    text = " " + "x" * (round(num * characters_per_token) - 1)
    completion = Completion(text, tuple(range(num)), finished=False)
    return Pair(prompt, completion, completion)
