"""What torch finds to compute on."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Device:
    """A CUDA device and its memory in bytes, used or not."""

    name: str
    memory_bytes: int


def torch_version() -> str:
    """Of the torch that is installed."""
    return str(torch.__version__)


def cuda_devices() -> tuple[Device, ...]:
    """Those that torch can use, the one that a run takes first."""
    if not torch.cuda.is_available():
        return ()
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return tuple(Device(str(each.name), int(each.total_memory)) for each in found)
