"""What a cell has spent so far, known to others when its process dies: a file that is written before a call is sent.

Whoever handed the share out closes the slip, by another name for its file. A worker looks for the name after it wrote:
finds it, and so wrote before it was closed, which is read after that; or does not, and sends nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from apl_bench.asking.budget import Spent

LENGTH = 128  # of the file: written at once, so that a kill leaves the old content or the new


@dataclass(frozen=True, slots=True)
class Slip:
    """The file of one attempt at a cell, in a folder that all workers see."""

    path: Path

    @classmethod
    def new(cls, path: Path) -> Self:
        """One on which nothing is spent."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_content(Spent()))
        return cls(path)

    def write(self, spent: Spent) -> bool:
        """Note what is spent or set aside; False where the slip is closed, and nothing may be spent any more."""
        try:
            with self.path.open("r+b", buffering=0) as file:
                file.write(_content(spent))
        except FileNotFoundError:
            return False
        return self.path.exists()

    def close(self) -> Spent | None:
        """Forbid more, and say what was noted; None where that cannot be read."""
        closed = self.path.with_name(f"{self.path.name}.closed")
        try:
            self.path.rename(closed)
            fields = json.loads(closed.read_bytes())
            closed.unlink()
            return Spent(**fields)
        except (OSError, ValueError, TypeError):
            return None


def _content(spent: Spent) -> bytes:
    return json.dumps(asdict(spent)).encode().ljust(LENGTH)
