"""Which batches are out: one JSON file each, beside the ledger, written before its batch is sent.

A note holds the token that the batch is marked with, its requests, the provider's id of it once there is one, and which
positions are done with: answered and kept, or known to be unpaid. A note whose last position is done goes away.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from apl_bench.judgments.keys import request_key
from apl_bench.types import JSON, SpecError


@dataclass(frozen=True, slots=True)
class Note:
    """A batch that was or is about to be sent; `keys` are those of its requests, by position."""

    token: str
    provider: str
    requests: tuple[Mapping[str, JSON], ...]
    keys: tuple[str, ...]
    batch_id: str | None = None
    done: frozenset[int] = frozenset()

    @classmethod
    def new(cls, requests: Sequence[Mapping[str, JSON]]) -> Self:
        """A note with a token of its own; of one request at least."""
        provider = str(requests[0].get("provider"))
        return cls(secrets.token_hex(8), provider, tuple(requests), tuple(map(request_key, requests)))

    @property
    def open(self) -> list[int]:
        """The positions that are not done with."""
        return [place for place in range(len(self.requests)) if place not in self.done]

    @property
    def open_keys(self) -> set[str]:
        """The keys of the open positions."""
        return {self.keys[place] for place in self.open}

    def __str__(self) -> str:
        return f"batch {self.batch_id} of {self.provider}"


class Notes:
    """The folder of notes. Several processes may use it; who sends batches holds its lock."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def about(self, keys: Iterable[str]) -> list[Note]:
        """The notes of which something open is among these keys. Raises SpecError for a file that is no note."""
        wanted = set(keys)
        return [note for note in self._all() if wanted & note.open_keys]

    def write(self, note: Note) -> None:
        """Keep a note, whole or not at all."""
        path = self._path(note)
        table = {"token": note.token, "provider": note.provider, "batch_id": note.batch_id,
                 "requests": [dict(request) for request in note.requests], "done": sorted(note.done)}  # fmt: skip
        temporary = path.with_suffix(f".{os.getpid()}.new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(table, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def drop(self, note: Note) -> None:
        """Forget a batch of which nothing is open."""
        self._path(note).unlink(missing_ok=True)

    def settle(self, note: Note, done: Iterable[int]) -> None:
        """These positions are done with as well."""
        note = replace(note, done=note.done | set(done))
        if note.open:
            self.write(note)
        else:
            self.drop(note)

    def _all(self) -> Iterator[Note]:
        for path in sorted(self.folder.glob("*.json")):
            try:
                text = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                continue  # another process has just collected it
            yield _parse(path, text)

    def _path(self, note: Note) -> Path:
        return self.folder / f"{note.token}.json"


def _parse(path: Path, text: str) -> Note:
    try:
        table = json.loads(text)
        requests = tuple(dict(request) for request in table["requests"])
        done = frozenset(int(place) for place in table.get("done", ()))
        keys = tuple(map(request_key, requests))
        return Note(str(table["token"]), str(table["provider"]), requests, keys, table["batch_id"], done)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(f"{path} is not a note of a batch ({error}); it says what was sent to a provider: look at it, "
                        "and move it away if nothing is outstanding there") from None  # fmt: skip
