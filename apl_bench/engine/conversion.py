"""From a GGUF file to a checkpoint of safetensors: once, in the user's cache, under the checksum of the file.

A converted model is a folder `models/gguf-<sha256 of the file>` of the cache folder, as `save_pretrained` writes it,
with a manifest of checksums. It is made in a folder of its own and renamed, under a lock, so that two processes make it
once and nobody meets half of one. Each load checks it against its manifest; what does not fit is told, and made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from apl_bench.cache import cache_folder
from apl_bench.engine.wheels import Wheel, find_file, require_readers
from apl_bench.types import SpecError

VERSION = 1  # of what a conversion gives: another one is made again
MANIFEST = "manifest.json"

_LOG = logging.getLogger(__name__)
_UNREADABLE = (OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError, ImportError, struct.error)


def converted_wheel(wheel: Wheel) -> Path:
    """The folder of the wheel's model, converted now or before; once it is converted the package is not needed.

    Raises SpecError, with what to do, where it cannot be made.
    """
    return _converted(wheel.sha256, partial(_checked_file, wheel))


def converted_file(path: Path) -> Path:
    """The folder of this GGUF file's model, converted now or before. Raises SpecError where it cannot be made."""
    return _converted(_sha256(path), lambda: path)


def convertible_wheel(wheel: Wheel) -> Path | None:
    """As `converted_wheel`, but nothing is made: None for a model that could be, SpecError for one that could not."""
    return _convertible(wheel.sha256, partial(_checked_file, wheel))


def convertible_file(path: Path) -> Path | None:
    """As `converted_file`, but nothing is made: None for a model that could be, SpecError for one that could not."""
    return _convertible(_sha256(path), lambda: path)


def fault(folder: Path) -> str | None:
    """What is wrong with a converted model, None if it is whole: every file is there with its checksum, no other is."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        expected = dict(manifest["files"]) if manifest["version"] == VERSION else {}
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"{MANIFEST} cannot be read ({type(error).__name__})"
    if not expected:
        return f"{MANIFEST} is of another version"
    found = {path.name for path in folder.iterdir()} - {MANIFEST}
    if found != set(expected):
        return f"{min(found ^ set(expected))} is missing or not its own"
    changed = [name for name, digest in sorted(expected.items()) if _sha256(folder / name) != digest]
    return f"{changed[0]} has changed" if changed else None


def _convertible(sha256: str, find: Callable[[], Path]) -> Path | None:
    folder = _folder(sha256)
    if folder.is_dir() and fault(folder) is None:
        return folder
    find()
    require_readers()
    return None


def _folder(sha256: str) -> Path:
    return cache_folder() / "models" / f"gguf-{sha256}"


def _converted(sha256: str, find: Callable[[], Path]) -> Path:
    folder = _folder(sha256)
    models = folder.parent
    try:
        models.mkdir(parents=True, exist_ok=True)
        with _locked(models / f".{folder.name}.lock"):
            wrong = fault(folder) if folder.exists() else "not made yet"
            if wrong is not None:
                _make(folder, find(), sha256, wrong)
    except OSError as error:
        raise SpecError(f"the model could not be converted in {str(models)!r}: {error}. Expected a folder that can be "
                        "written, with room for its weights in float32 (0.6 GB for SmolLM2-135M); set "
                        "APL_BENCH_CACHE_DIR to one") from error  # fmt: skip
    return folder


def _make(folder: Path, gguf: Path, sha256: str, wrong: str) -> None:
    """Convert into a temporary folder beside `folder`, and put it there. The caller holds the lock."""
    require_readers()
    if folder.exists():
        _LOG.warning("the converted model in %s is not whole: %s. It is made again", folder, wrong)
    prefix = f".{folder.name}-"
    for leftover in folder.parent.glob(f"{prefix}*"):  # of a process that was killed: the lock is ours
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as beside:
        made = Path(beside) / "model"
        _write_checkpoint(gguf, made)
        _write_manifest(made, sha256)
        if folder.exists():
            os.replace(folder, Path(beside) / "replaced")
        os.replace(made, folder)


def _write_checkpoint(gguf: Path, folder: Path) -> None:
    """Weights in float32, configuration and tokenizer, as save_pretrained writes them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        both: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    except _UNREADABLE as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise SpecError(f"{str(gguf)!r} could not be read as a causal language model: {reason}. Expected a whole GGUF "
                        "file of an architecture that transformers converts, such as llama") from error  # fmt: skip
    loaded, info = both
    missing = sorted(info["missing_keys"])
    if missing:  # they would be random numbers
        raise SpecError(f"{str(gguf)!r} lacks {len(missing)} weights of the model, such as {missing[0]}; expected all")
    # It calls itself quantised, though its weights are plain, and refuses to be saved: the same without the word.
    config = {name: value for name, value in loaded.config.to_dict().items() if name != "quantization_config"}
    with torch.device("meta"):  # it takes over the loaded tensors: the weights are in memory once
        model = type(loaded)(type(loaded.config)(**config))
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_manifest(folder: Path, sha256: str) -> None:
    """The checksums of all files, and what they were made from and by."""
    made = {"version": VERSION, "gguf_sha256": sha256, "transformers": version("transformers"), "gguf": version("gguf")}
    checksums = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({**made, "files": checksums}, indent=1) + "\n", encoding="utf-8")


def _checked_file(wheel: Wheel) -> Path:
    path = find_file(wheel)
    found = _sha256(path)
    if found != wheel.sha256:
        raise SpecError(f"{path.name} has sha256 {found}; expected {wheel.sha256}: "
                        f"{wheel.command} --force-reinstall")  # fmt: skip
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among all processes that lock this path; waits for its turn."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
