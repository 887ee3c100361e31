"""What is wrong with a submission: a code that stays the same, a sentence, a place and a remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from apl_bench.types import JSON

MAX_SHOWN = 200  # letters of a value that somebody else wrote, in a sentence


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or of level 4 one that a person should look at.

    `code` is V, the level (1 integrity, 2 protocol, 3 recomputation, 4 plausibility) and two digits; `place` is a file
    of the submission, with a line or a field where there is one.
    """

    code: str
    place: str
    sentence: str
    remedy: str

    @property
    def level(self) -> int:
        """1 to 4."""
        return int(self.code[1])

    @property
    def is_flag(self) -> bool:
        """Whether it is a question to a person, and no failure."""
        return self.level == 4

    def to_json(self) -> dict[str, JSON]:
        """As `apl-bench verify --json` prints it."""
        return {**asdict(self)}


class Refused(ValueError):  # noqa: N818 - what was done, as the findings say why
    """A submission that cannot be read further; carries what is wrong with it."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(self._lines()))

    def __reduce__(self) -> tuple[type[Refused], tuple[tuple[Finding, ...]]]:
        return Refused, (self.findings,)  # it crosses from the processes that verify

    def _lines(self) -> Iterator[str]:
        for found in self.findings:
            yield f"{found.code} {found.place}: {found.sentence}; {found.remedy}"


def refuse(code: str, place: str, sentence: str, remedy: str) -> Refused:
    """The error of one finding."""
    return Refused([Finding(code, sentence, place, remedy)])


def shown(value: object) -> str:
    """A value of somebody else's, as a sentence may hold it: escaped, and short."""
    text = ascii(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
