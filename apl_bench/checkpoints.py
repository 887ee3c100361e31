"""Checkpoints of models: fetched from the Hugging Face hub at a commit; what to do where one can't be had, or read.

What transformers loads is the folder that `fetch` gives, and never an id: so nothing is read but what was pinned. In
particular no conversion is that somebody has proposed to the model's owner: where a model has no safetensors,
transformers by itself looks for one and asks a service of the hub to make it.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from apl_bench.spec import COMMIT
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.types import JSON

HUB = "https://huggingface.co"
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"

_SMALL = ["*.json", "*.txt", "*.model", "*.jinja"]  # config, tokenizer, and the index of weights in several files
_LEFT_OUT = ["*/*", "adapter_*"]  # other formats, in folders of their own; an adapter would name another model
_WEIGHTS = (f"{SAFE}.index.json", SAFE, f"{PICKLED}.index.json", PICKLED)
_OF_OTHERS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


class NotHereError(SpecError):
    """What was asked for is not on this machine, and was not to be got from the hub; the hub may have it."""


def require_commit(setting: str, model: str, revision: str | None) -> str:
    """The revision, if it is a commit; else raises SpecError with where it stands. `setting` is what to give."""
    if COMMIT.fullmatch(revision or ""):
        return str(revision)
    known = cached_commit(model)
    here = f"; in this machine's cache `main` is {known}" if known else ""
    raise NotHereError(f"the revision of {model!r} is {revision!r}; a model from the hub needs the 40-digit commit, as "
                       f"a branch can change: {setting}=COMMIT, with the newest at {HUB}/{model}/commits/main, which "
                       f"`apl-bench doctor PRESET --online` says too{here}")  # fmt: skip


def fetch(model: str, revision: str, local_only: bool = False) -> Path:
    """The folder of the hub's cache with config, tokenizer and weights of that commit, downloaded where it lacks them.

    The weights are in safetensors where the commit has them, else pickled. With `local_only` nothing is downloaded.
    Raises SpecError, with what to do, where something is not to be had.
    """
    from huggingface_hub import errors

    transport = errors.HTTPError  # type: ignore[attr-defined]  # of the client that the hub's package is built on
    try:
        return _fetch(model, revision, local_only)
    except (OSError, ValueError, errors.EntryNotFoundError, transport) as error:
        raise NotHereError(
            f"the model {model!r} is not to be had at commit {revision}: {_why(model, revision, error)}"
        ) from error


@contextmanager
def without_hub() -> Iterator[None]:
    """Nothing is asked of the hub inside this block: its cache is all there is."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def newest_commit(model: str, revision: str | None = None, kind: str = "model") -> str:
    """The commit that a revision of a model (or `dataset`), by default the branch `main`, stands for now.

    Asks the hub, downloads nothing. Raises SpecError.
    """
    from huggingface_hub import HfApi, errors

    transport = errors.HTTPError  # type: ignore[attr-defined]
    try:
        commit = HfApi().repo_info(model, revision=revision, repo_type=kind).sha
    except (OSError, ValueError, transport) as error:
        reason = _why(model, revision or "main", error)
        raise SpecError(f"the hub could not say the commit of {model!r}: {reason}") from error
    assert commit is not None, "the hub says every commit"
    return commit


def cached_commit(model: str) -> str | None:
    """The commit that `main` was when it was last downloaded; None where the cache has none."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    path = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model, repo_type="model") / "refs" / "main"
    commit = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    return commit if COMMIT.fullmatch(commit) else None


def lack_of_weights(folder: Path) -> str | None:
    """What was expected where a folder has no weights that are read; None where it has some."""
    if any((folder / name).is_file() for name in _WEIGHTS):
        return None
    others = sorted(path.name for path in folder.glob("*") if path.suffix in _OF_OTHERS)
    has = f"and only {others[0]} is there" if others else "and there is none"
    return f"Expected weights in {SAFE} (or {PICKLED}), {has}: write them with save_pretrained"


def unreadable(what: str, folder: Path, error: BaseException) -> SpecError:
    """The error for a folder that could not be loaded: the reason in one line, and what to do."""
    if any(isinstance(cause, pickle.UnpicklingError) for cause in _chain(error)):
        return SpecError(f"{what} could not be loaded: its {PICKLED} holds more than tensors, which could be code, or "
                         "is damaged; nothing in it was run. Give the weights in safetensors, or choose another "
                         "model")  # fmt: skip
    words = (str(error).splitlines() or [""])[0].rstrip(".")
    reason = f"{type(error).__name__} {words}".rstrip() if isinstance(error, LookupError) or not words else words
    lack = lack_of_weights(folder)
    if "trust_remote_code" in str(error):
        remedy = "It needs code of its own, which apl-bench never runs: choose a model that transformers knows"
    elif lack is not None:
        remedy = lack
    else:
        remedy = f"Expected config.json, {SAFE} (or {PICKLED}) and a tokenizer, as save_pretrained writes them"
    return SpecError(f"{what} could not be loaded: {reason}. {remedy}")


def _fetch(model: str, revision: str, local_only: bool) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    def download(name: str) -> Path:
        return Path(hf_hub_download(model, name, revision=revision, local_files_only=local_only))

    folder = snapshot_download(
        model, revision=revision, local_files_only=local_only, allow_patterns=_SMALL, ignore_patterns=_LEFT_OUT
    )
    for name in _WEIGHTS:
        try:
            found = download(name)
        except EntryNotFoundError as error:
            missing = error
            continue
        for part in _parts(found):
            download(part)
        return Path(folder)
    raise missing


def _parts(path: Path) -> list[str]:
    """The files of weights that an index names; none where it is no index. Raises ValueError for a broken one."""
    if not path.name.endswith(".index.json"):
        return []
    index: JSON = json.loads(path.read_text(encoding="utf-8"))
    named = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(named, dict) or not all(isinstance(part, str) for part in named.values()):
        raise ValueError(f"{path.name} names no files of weights")
    return sorted({str(part) for part in named.values()})


def _why(model: str, revision: str, error: BaseException) -> str:
    """What is wrong, and what to do about it, in half a sentence."""
    from huggingface_hub import errors

    known: dict[type[BaseException], str] = {  # in this order: a gated model is also one that is not found
        errors.GatedRepoError: f"it is gated; accept its terms at {HUB}/{model}, then hf auth login",
        errors.RevisionNotFoundError: f"it has no such commit; take the 40 digits from {HUB}/{model}/commits/main",
        errors.RepositoryNotFoundError: f"the hub has no such model, or it is private; look at {HUB}/{model}, then "
                                        "hf auth login",
        errors.HFValidationError: "this cannot be the id of a model; expected owner/name",
        errors.RemoteEntryNotFoundError: f"it has neither {SAFE} nor {PICKLED}; convert its weights with "
                                         "save_pretrained and give that folder",
        json.JSONDecodeError: "a file of it is not JSON; choose another commit",
    }  # fmt: skip
    causes = list(_chain(error))
    for kind, sentence in known.items():
        if any(isinstance(cause, kind) for cause in causes):
            return sentence
    return ("it is not, or not wholly, in this machine's cache, and the hub is not within reach "
            f"({type(causes[-1]).__name__}); where there is a network: hf download {model} --revision {revision} ; "
            "HF_HUB_OFFLINE must not be set while it downloads")  # fmt: skip


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
