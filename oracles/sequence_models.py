"""Sequence-classification checkpoints, from a folder or the hub: loaded, checksummed, and run on one text at a time.

A pinned commit, no remote code; safetensors, or pickled weights read by torch as tensors and nothing else. torch and
transformers are imported where they are used.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785

from apl_bench.checkpoints import fetch, require_commit, unreadable
from apl_bench.spec import HUB_ID, nearest, require
from apl_bench.types import JSON, SpecError

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
DTYPES = ("float32", "bfloat16", "float16")

_UNSTATED_LENGTH = 10**9  # tokenizers without a limit state 10**30
_SAVED_BY = frozenset({"dtype", "torch_dtype", "transformers_version"})  # of a config, without effect on a score


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a model comes from, and how it is held: `revision` is None for a folder, a full commit for a hub id.

    Raises SpecError for what cannot be, before anything is loaded.
    """

    model: str
    revision: str | None
    dtype: str
    device: str

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise nearest(str(self.dtype), "dtype", DTYPES)
        require(bool(DEVICE.fullmatch(str(self.device))), "device", self.device, "auto, cpu, cuda, or cuda:NUMBER")
        if self.is_folder:
            require(self.revision is None, "revision", self.revision, f"none, because {self.model!r} is a folder")
            return
        if not HUB_ID.fullmatch(str(self.model)):
            raise SpecError(f"model is {self.model!r}, where there is no folder; expected a folder that holds a "
                            "sequence-classification checkpoint, or a hub id such as owner/name")  # fmt: skip
        require_commit("revision", self.model, self.revision)

    @property
    def is_folder(self) -> bool:
        """Whether the model is a folder that is there."""
        return bool(self.model) and Path(self.model).expanduser().is_dir()

    def folder(self) -> Path:
        """The folder that the loaders read, fetched from the hub where it is not one already. Raises SpecError."""
        return Path(self.model).expanduser() if self.is_folder else fetch(self.model, str(self.revision))


@dataclass(frozen=True, slots=True)
class Checksums:
    """sha256, hex: of the weights as they are held (with dtype), the tokenizer with its chat template, the config."""

    weights: str
    tokenizer: str
    config: str

    @property
    def whole(self) -> str:
        """One for the three."""
        return hashlib.sha256(" ".join((self.weights, self.tokenizer, self.config)).encode()).hexdigest()


@dataclass(frozen=True)
class SequenceModel:
    """A loaded model with its tokenizer, its labels in order of its outputs, and what it takes at most in tokens."""

    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    max_length: int | None
    checksums: Checksums

    @property
    def architecture(self) -> str:
        """The class of the model."""
        return type(self.model).__name__

    @property
    def versions(self) -> dict[str, JSON]:
        """Of what computes: another one may move the last digits."""
        import torch
        import transformers

        return {"torch": torch.__version__, "transformers": transformers.__version__}

    @property
    def one_of_many(self) -> bool:
        """Whether the outputs are the logits of labels of which exactly one is right, rather than of one each."""
        return getattr(self.model.config, "problem_type", None) != "multi_label_classification"

    @property
    def pads(self) -> bool:
        """Whether the model takes several texts at once: decoders look for the token that pads."""
        return self.model.config.get_text_config().pad_token_id is not None

    def special_tokens(self) -> list[str]:
        """Texts that the tokenizer reads as control tokens, longest first."""
        added = [str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        return sorted({*self.tokenizer.all_special_tokens, *added}, key=lambda token: (-len(token), token))

    def logits(self, sequences: Sequence[tuple[int, ...]], batch_size: int) -> list[np.ndarray]:
        """The model's outputs for each sequence of tokens, each of shape (num_labels,), float64.

        Every pass has `batch_size` rows of one length, the last row again where there are fewer: kernels and their
        order of summing follow the shape alone, so that a row's bits do not depend on what stands beside it. On a CPU a
        pass of several rows has one thread, since several share the rows out, and some rows fall on their borders.
        """
        rows_of: dict[int, list[int]] = defaultdict(list)
        for row, tokens in enumerate(sequences):
            rows_of[len(tokens)].append(row)
        found: dict[int, np.ndarray] = {}
        for rows in rows_of.values():
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                filled = [*batch, *[batch[-1]] * (batch_size - len(batch))]
                outputs = self._forward([sequences[row] for row in filled])
                found |= {row: outputs[place] for place, row in enumerate(batch)}
        return [found[row] for row in range(len(sequences))]

    def _forward(self, rows: Sequence[tuple[int, ...]]) -> np.ndarray:
        import torch

        ids = torch.tensor(rows, dtype=torch.long, device=self.model.device)
        num_threads = torch.get_num_threads()
        if len(rows) > 1:
            torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                logits = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        finally:
            torch.set_num_threads(num_threads)
        outputs: np.ndarray = logits.double().cpu().numpy()
        return outputs


@cache
def load(checkpoint: Checkpoint) -> SequenceModel:
    """The model, its dropout off. SpecError, with what to do, where it is not to be had or is no classifier."""
    # As apl_bench.engine does, and for its reason: threads that wait by spinning slow each other down many times over.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise SpecError(f"the oracle 'hf' needs torch and transformers, and {error.name or error} is missing; "
                        "pip install torch transformers installs them") from error  # fmt: skip
    disable_progress_bar()  # type: ignore[no-untyped-call]
    device = _device(checkpoint.device, torch.cuda.is_available())
    folder = checkpoint.folder()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = _read_config(folder / "config.json")
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=getattr(torch, checkpoint.dtype), weights_only=True, output_loading_info=True, **options
        )
    except (
        OSError, ValueError, LookupError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError
    ) as error:  # fmt: skip
        raise unreadable(f"the model {checkpoint.model!r}", folder, error) from error
    untrained = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if untrained:
        raise SpecError(f"the model {checkpoint.model!r} has no weights for {untrained[0]!r}: it was not saved as a "
                        "sequence classifier. Give one that was, such as a reward model")  # fmt: skip
    checksums = Checksums(_weights_checksum(model), _tokenizer_checksum(tokenizer), _config_checksum(config))
    model = model.eval().to(device)
    return SequenceModel(model, tokenizer, _labels(model), _max_length(model, tokenizer), checksums)


def _device(name: str, has_cuda: bool) -> str:
    if name.startswith("cuda") and not has_cuda:
        raise SpecError(f"device is {name!r}, and torch finds no CUDA device here; expected cpu or auto")
    return ("cuda" if has_cuda else "cpu") if name == "auto" else name


def _labels(model: Any) -> tuple[str, ...]:
    config = model.config
    return tuple(str(config.id2label.get(number, number)) for number in range(config.num_labels))


def _max_length(model: Any, tokenizer: Any) -> int | None:
    """The most tokens that the model takes; None where neither it nor its tokenizer has a limit."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    offset = getattr(table, "padding_idx", None)  # RoBERTa counts positions from the one after its padding's
    limits = [tokenizer.model_max_length]
    if positions is not None and positions > 0:
        limits.append(positions - (0 if offset is None else offset + 1))
    stated = [int(limit) for limit in limits if limit < _UNSTATED_LENGTH]
    return min(stated) if stated else None


def _read_config(path: Path) -> dict[str, Any]:
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError("config.json is no table")
    return config


def _config_checksum(config: dict[str, Any]) -> str:
    kept = {key: value for key, value in config.items() if not key.startswith("_") and key not in _SAVED_BY}
    return hashlib.sha256(rfc8785.dumps(kept)).hexdigest()


def _tokenizer_checksum(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()  # a setting of the last call, and no part of the tokenizer
        backend.no_padding()
    text = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    template = json.dumps(getattr(tokenizer, "chat_template", None), sort_keys=True)
    return hashlib.sha256(f"{text}\n{template}".encode()).hexdigest()


def _weights_checksum(model: Any) -> str:
    """sha256 over names, types, shapes and bytes, in order of names."""
    import torch

    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        data = weight.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}\n".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
