"""What a tracker was given that cannot be asked for it: noted in a file beside the tracker's own."""

from __future__ import annotations

import json
from pathlib import Path

from apl_bench.tracking.rows import Place, Row


class Notes:
    """The places of one run that were handed over; a line of JSON for each row, written after the tracker took it.

    A kill between the two makes the tracker get that one row again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> set[Place]:
        """All places noted; a last line that a kill cut off is dropped."""
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._path.write_text(whole, encoding="utf-8")
        rows = [json.loads(line) for line in whole.splitlines()]
        return {(name, row["x"]) for row in rows for name in row["names"]}

    def add(self, row: Row) -> None:
        """Note a row."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"x": row.x, "names": list(row.values)}) + "\n")
