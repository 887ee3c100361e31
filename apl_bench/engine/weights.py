"""Weights on disk (safetensors, written whole or not at all) and their checksum."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from apl_bench.types import SpecError


def save_weights(parameters: dict[str, Tensor], path: Path) -> None:
    """Write the weights to `path` by way of a temporary file beside it."""
    data = save({name: weight.detach().cpu().contiguous() for name, weight in parameters.items()})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@torch.no_grad()
def load_weights(parameters: dict[str, Tensor], path: Path) -> None:
    """Copy what `save_weights` wrote into weights of the same names and shapes; SpecError where it does not fit."""
    if not path.is_file():
        raise SpecError(f"there are no weights at {str(path)!r}; expected a file that the engine saved")
    try:
        saved = load_file(path)
    except SafetensorError as error:
        raise SpecError(f"{str(path)!r} is no whole safetensors file ({error}); remove it and run again") from error
    expected = {name: tuple(weight.shape) for name, weight in parameters.items()}
    found = {name: tuple(weight.shape) for name, weight in saved.items()}
    if found != expected:
        differing = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise SpecError(f"the weights at {str(path)!r} are another model's: {differing[0]!r} has shape "
                        f"{found.get(differing[0])}; expected {expected.get(differing[0])}")  # fmt: skip
    for name, weight in parameters.items():
        weight.copy_(saved[name])


def checksum(parameters: dict[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes of the weights, in order of their names; hex."""
    digest = hashlib.sha256()
    for name in sorted(parameters):
        weight = parameters[name].detach().cpu().contiguous()
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
