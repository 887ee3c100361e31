"""Where a run is tracked, as one writes it: `tensorboard`, `tensorboard:FOLDER`, `mlflow:sqlite:///mlflow.db`, ..."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Self

from apl_bench.spec import nearest
from apl_bench.tracking.tracker import Tracker
from apl_bench.types import SpecError


@dataclass(frozen=True, slots=True)
class Backend:
    """A tracker that is not imported yet: "module:Class", and what stands behind the colon of a target."""

    target: str
    argument: str


BACKENDS: Mapping[str, Backend] = {
    "tensorboard": Backend("apl_bench.tracking.tensorboard:TensorBoard", "FOLDER"),
    "mlflow": Backend("apl_bench.tracking.mlflow:MLflow", "URI"),
    "wandb": Backend("apl_bench.tracking.wandb:Wandb", "PROJECT"),
    "trackio": Backend("apl_bench.tracking.trackio:Trackio", "PROJECT"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """A tracker, and where its data go; None: where it keeps them by default."""

    backend: str
    argument: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SpecError for a tracker that does not exist or is not installed, with what to do."""
        backend, colon, argument = text.partition(":")
        if backend not in BACKENDS:
            raise nearest(backend, "tracker", BACKENDS)
        if colon and not argument:
            raise SpecError(f"{text!r} ends in a colon; expected {backend}:{BACKENDS[backend].argument}, or {backend}")
        if find_spec(backend) is None:
            raise SpecError(f"tracking to {backend} needs the package {backend}, which is not installed: "
                            f"pip install 'apl-bench[{backend}]'")  # fmt: skip
        return cls(backend, argument or None)

    def tracker(self) -> Tracker:
        """A new one, for one run."""
        module, _, name = BACKENDS[self.backend].target.partition(":")
        made: Tracker = getattr(importlib.import_module(module), name)(self.argument)
        return made

    def __str__(self) -> str:
        return self.backend if self.argument is None else f"{self.backend}:{self.argument}"


def parse_all(texts: Iterable[str]) -> list[Target]:
    """Each target once, in the order given."""
    return list(dict.fromkeys(map(Target.parse, texts)))
