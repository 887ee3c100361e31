"""From the spec to a checkpoint: shipped, from a wheel, in a folder or a file, or on the hub.

Safetensors, GGUF (which is converted), or pickled weights read by torch as tensors and nothing else; no remote code.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from apl_bench.checkpoints import fetch, lack_of_weights, require_commit, unreadable
from apl_bench.engine.conversion import (
    converted_file,
    converted_wheel,
    convertible_file,
    convertible_wheel,
)
from apl_bench.engine.wheels import WHEEL, wheel_called
from apl_bench.spec import HUB_ID, PolicySpec, nearest
from apl_bench.types import SpecError

SHIPPED = "shipped:"
GGUF = ".gguf"

_UNREADABLE = (
    OSError, ValueError, LookupError, RuntimeError, TypeError, EOFError, ImportError, SafetensorError,
    pickle.UnpicklingError,
)  # fmt: skip


class PolicyTokenizer:
    """A transformers tokenizer as the benchmark uses it: no special tokens added, nothing cleaned up."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self._encoded: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str) -> list[int]:
        """The text's tokens."""
        return list(self.inner.encode(text, add_special_tokens=False))

    def decode(self, token_ids: Sequence[int]) -> str:
        """The tokens' text, special tokens included."""
        return str(self.inner.decode(list(token_ids), clean_up_tokenization_spaces=False))

    def encode_prompt(self, text: str) -> tuple[int, ...]:
        """The tokens of a prompt, remembered; SpecError where there are none."""
        if text not in self._encoded:
            self._encoded[text] = tuple(self.encode(text))
        if not self._encoded[text]:
            raise SpecError(f"the prompt {text!r} has no tokens; expected at least one. Drop it from the task")
        return self._encoded[text]

    def continuation(self, prompt: tuple[int, ...], completion: Sequence[int]) -> str:
        """The text that the completion adds to the prompt's.

        Some tokenizers drop the space before a text's first word, so a completion is decoded behind its prompt.
        """
        before, whole = self.decode(prompt), self.decode([*prompt, *completion])
        return whole[len(before) :] if whole.startswith(before) else self.decode(completion)

    def checksum(self) -> str:
        """sha256 of the whole tokenizer where it can be written as one text, else of its vocabulary; hex."""
        backend = getattr(self.inner, "backend_tokenizer", None)
        text = backend.to_str() if backend is not None else json.dumps(self.inner.get_vocab(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load_model(policy: PolicySpec) -> tuple[Any, PolicyTokenizer]:
    """The model in fp32 on the CPU, and its tokenizer; SpecError, with what to do, where they are not to be had."""
    return _load(policy.model, _place(policy).fetch())


def find_checkpoint(policy: PolicySpec) -> Path | None:
    """The folder of the policy's checkpoint, as it stands on this machine; None for one that a run would convert first.

    Nothing is downloaded, converted or loaded. Raises SpecError as `load_model` would.
    """
    return _place(policy).find()


def require_peft(what: str) -> None:
    """Raise SpecError with the command that provides peft where `what` needs it and it is not installed."""
    if find_spec("peft") is None:
        raise SpecError(f"{what} needs peft: pip install 'apl-bench[lora]'")


def num_parameters(folder: Path) -> int:
    """Weights of the model that a folder's config.json describes, tied ones once; none are loaded. Raises SpecError."""
    try:
        with torch.device("meta"):
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    except _UNREADABLE as error:
        raise unreadable(f"the config of {str(folder)!r}", folder, error) from error
    model.tie_weights()
    return sum(weight.numel() for weight in model.parameters())


def eos_ids(model: Any, tokenizer: PolicyTokenizer) -> tuple[int, ...]:
    """The tokens that end a completion: those of the generation config, else the tokenizer's, else none."""
    found = model.generation_config.eos_token_id if model.generation_config is not None else None
    found = tokenizer.inner.eos_token_id if found is None else found
    return () if found is None else tuple(found) if isinstance(found, (list, tuple)) else (int(found),)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a checkpoint is: how its folder is got, and how it is looked for without making or downloading anything."""

    fetch: Callable[[], Path]
    find: Callable[[], Path | None]


def _place(policy: PolicySpec) -> _Place:
    if policy.model.startswith(SHIPPED):
        shipped = partial(_shipped, policy.model.removeprefix(SHIPPED))
        return _Place(shipped, shipped)
    if policy.model.startswith(WHEEL):
        wheel = wheel_called(policy.model.removeprefix(WHEEL))
        return _Place(partial(converted_wheel, wheel), partial(convertible_wheel, wheel))
    path = Path(policy.model).expanduser()
    if path.suffix == GGUF and path.is_file():
        return _Place(partial(converted_file, path), partial(convertible_file, path))
    if policy.model and path.is_dir():
        return _Place(lambda: path, partial(_with_weights, path))
    _require_hub_id(policy)
    commit = require_commit("--set policy.revision", policy.model, policy.revision)
    return _Place(partial(fetch, policy.model, commit), partial(fetch, policy.model, commit, local_only=True))


def _shipped(name: str) -> Path:
    with as_file(files("apl_bench.tasks") / "models") as folder:
        known = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
        if name not in known:
            raise nearest(name, "shipped policy", known)
        return folder / name


def _with_weights(folder: Path) -> Path:
    lack = lack_of_weights(folder)
    if lack is not None:
        raise SpecError(f"policy.model {str(folder)!r} could not be loaded. {lack}")
    return folder


def _require_hub_id(policy: PolicySpec) -> None:
    if not HUB_ID.fullmatch(policy.model) or policy.model.endswith(GGUF):
        raise SpecError(f"policy.model is {policy.model!r}, where there is nothing; expected {SHIPPED}NAME, "
                        f"{WHEEL}NAME, a folder that holds a checkpoint, a {GGUF} file, or a hub id such as "
                        "owner/name")  # fmt: skip


def _load(name: str, folder: Path) -> tuple[Any, PolicyTokenizer]:
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of reading weights, a second at most
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        both: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, weights_only=True, output_loading_info=True, **options
        )
    except _UNREADABLE as error:
        raise unreadable(f"policy.model {name!r}", folder, error) from error
    model, report = both
    untrained = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if untrained:
        raise SpecError(f"policy.model {name!r} has no weights for {untrained[0]!r}, which would be random numbers; "
                        "expected a causal language model with all its weights")  # fmt: skip
    return model, PolicyTokenizer(tokenizer)
