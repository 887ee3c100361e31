"""An answer as a file from elsewhere has it: nothing in it is checked but its shape."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from apl_bench.types import SpecError


@dataclass(frozen=True, slots=True)
class Label:
    """Fields of any type, as they stood in the file; `place` says where, for the one who has to mend it.

    `shown` has question, prompt, first and second.
    """

    place: str
    item: Any
    sha256: Any
    shown: tuple[Any, ...]
    verdict: Any
    annotator: Any
    started: Any
    submitted: Any


def expect(condition: object, place: str, expected: str) -> None:
    """Raise SpecError unless the condition holds."""
    if not condition:
        raise SpecError(f"{place}: expected {expected}")


def json_list(text: str, what: str) -> list[Any]:
    """The list that a JSON text holds, or JSON lines of its items. Raises SpecError."""
    try:
        if text.lstrip()[:1] == "[":
            return list(json.loads(text))
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:
        raise SpecError(f"the file is not {what}: {error}") from None
