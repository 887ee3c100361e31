"""What a ledger holds, counted: judgments by who gave them, generations, tokens, files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from apl_bench.judgments.files import explained, ledger_files, read_lines
from apl_bench.judgments.record import Record, RecordError


class Answerer(NamedTuple):
    """Who gave judgments, as their requests name it; None where they do not."""

    provider: str | None
    model: str | None


@dataclass
class Given:
    """What one answerer gave: judgments, those of them that are no whole answer, and tokens by name."""

    num_judgments: int = 0
    num_not_ok: int = 0
    tokens: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Survey:
    """A ledger in numbers. `num_bad_lines` are lines that are no records; files are named oldest first."""

    files: tuple[str, ...]
    num_bytes: int
    num_bad_lines: int
    given: Mapping[Answerer, Given]
    generations: Mapping[int, int]  # -> judgments

    @property
    def num_judgments(self) -> int:
        return sum(given.num_judgments for given in self.given.values())

    @property
    def tokens(self) -> Counter[str]:
        """Tokens of all judgments, by name."""
        return sum((given.tokens for given in self.given.values()), Counter())


def survey(folder: Path) -> Survey:
    """Read all of a ledger and count. Raises LedgerError."""
    given: dict[Answerer, Given] = {}
    generations: Counter[int] = Counter()
    num_bytes = num_bad = 0
    with explained("read", folder):
        names = ledger_files(folder).names
        for name in names:
            for line in read_lines(folder / name, 0):
                num_bytes += line.end - line.offset
                record = _record(line.data)
                if record is None:
                    num_bad += not line.torn
                else:
                    generations[record.generation] += 1
                    _count(given.setdefault(_answerer(record), Given()), record)
    return Survey(names, num_bytes, num_bad, given, dict(sorted(generations.items())))


def _record(data: bytes) -> Record | None:
    try:
        return Record.from_line(data)
    except RecordError:
        return None


def _answerer(record: Record) -> Answerer:
    provider, model = (record.request.get(name) for name in ("provider", "model"))
    return Answerer(*(None if value is None else str(value) for value in (provider, model)))


def _count(given: Given, record: Record) -> None:
    given.num_judgments += 1
    given.num_not_ok += record.reply.outcome != "ok"
    given.tokens.update(record.reply.usage)
