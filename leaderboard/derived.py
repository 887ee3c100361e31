"""What a run's prompts have to be, from data that ship or are installed: no network, and no model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from apl_bench.leaderboard.packing.tables import shipped_folder
from apl_bench.protocols import Task
from apl_bench.records import to_json
from apl_bench.registry import TASKS
from apl_bench.spec import RunSpec
from apl_bench.types import Prompt, SpecError

HERE = ("package", "sample")  # sources of data that ship or are installed
CUT_BY_TOKENS = ("imdb",)  # tasks whose prompts depend on the policy's tokenizer


@dataclass(frozen=True)
class Derived:
    """The training prompts and the test prompts of a task, in the order in which a run meets them; and the checksum of
    the data as a run records it."""

    train: tuple[Prompt, ...]
    test: tuple[Prompt, ...]
    identity: dict[str, Any]


class ShippedTokenizer:
    """The tokenizer of a policy that ships, read without a model."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tokenizer.json"

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self._path))

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, none added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=False))


def derive(spec: RunSpec) -> Derived | None:
    """The prompts of a spec; None where its data or its tokenizer are not on this machine."""
    return _derive(spec.task.name, to_json(dict(spec.task.params)), spec.policy.model, spec.evaluation.num_prompts)


@lru_cache(maxsize=1)  # whoever verifies several submissions reads the same data
def _derive(name: str, params: str, model: str, num_test: int) -> Derived | None:
    shipped, settings = model.startswith("shipped:"), json.loads(params)
    if settings.get("source") not in HERE or (name in CUT_BY_TOKENS and not shipped):
        return None
    try:
        folder = shipped_folder(model) if shipped else Path()
        if shipped and not (folder / "tokenizer.json").is_file():
            return None
        task: Task = TASKS.create(name, settings)
        tokenizer = ShippedTokenizer(folder)
        train, test = (tuple(task.prompts(split, tokenizer)) for split in ("train", "test"))
    except (SpecError, ImportError):
        return None
    return Derived(train, test[:num_test], {**task.identity(), "num_train": len(train)})
