"""What batches of either provider share: names of requests, and answers put back into their places."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from apl_bench.failures import CallError, Remedy
from apl_bench.oracles.remote import Scrubber, table_of
from apl_bench.types import BatchState, Reply, SpecError

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,48}")  # Anthropic takes 64 characters of these for the whole name
_NAME = re.compile(r"([A-Za-z0-9_-]{1,48})-([0-9]{1,6})")


def check_token(token: str) -> None:
    """Raise SpecError for a token that no request could be named after."""
    if not _TOKEN.fullmatch(token):
        raise SpecError(f"the token of a batch is {token!r}; expected 1 to 48 letters, digits, '-' or '_'")


def custom_id(token: str, position: int) -> str:
    """The name of the request at this position of the batch with this token."""
    return f"{token}-{position}"


def token_of(name: object) -> str | None:
    """The token in a request's name; None for a name that is not one of ours."""
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    return match[1] if match else None


class Fate(Enum):
    """What became of a request without a reply: not processed, and so not paid for; refused, also unpaid, and again if
    it is sent again; unsettled, which is processed or perhaps so."""

    UNPROCESSED = "unprocessed"
    REFUSED = "refused"
    UNSETTLED = "unsettled"


@dataclass(frozen=True, slots=True)
class NoReply:
    """Why a request has no reply."""

    reason: str
    fate: Fate

    @classmethod
    def of(cls, error: CallError) -> Self:
        """From an error that stands in a batch's results: a status, which says that nothing was done."""
        return cls(str(error), Fate.REFUSED if error.remedy is Remedy.STOP else Fate.UNPROCESSED)


@dataclass(slots=True)
class Answers:
    """Replies and failures of an ended batch by position. `num_requests` None: the provider does not say."""

    batch_id: str
    token: str
    num_requests: int | None
    by_position: dict[int, Reply | NoReply] = field(default_factory=dict)

    @property
    def num_processed(self) -> int:
        """Requests that the provider says it did something about."""
        return sum(answer.fate is not Fate.UNPROCESSED if isinstance(answer, NoReply) else True
                   for answer in self.by_position.values())  # fmt: skip

    def add(self, name: object, answer: Reply | NoReply) -> None:
        """Keep a reply, or why there is none. Raises CallError(STOP) for a name that is not of this batch, or twice."""
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        limit = 10**6 if self.num_requests is None else self.num_requests
        if match is None or match[1] != self.token or int(match[2]) >= limit:
            raise self._refusal(f"an answer to {str(name)[:80]!r}, which was not asked in it")
        position = int(match[2])
        if position in self.by_position:
            raise self._refusal(f"two answers to {match[0]!r}")
        self.by_position[position] = answer

    def state(self, how: str, rest: Fate) -> BatchState:
        """The batch as it ended; `how` and `rest` are said of the requests that the provider does not mention."""
        reason = f"the batch ended as {how!r} without an answer"
        answers = dict.fromkeys(range(self.num_requests or 0), NoReply(reason, rest)) | self.by_position
        lost = {place: answer for place, answer in answers.items() if isinstance(answer, NoReply)}
        return BatchState(
            len(self.by_position),
            ended=True,
            replies={place: answer for place, answer in answers.items() if isinstance(answer, Reply)},
            failures={place: answer.reason for place, answer in lost.items()},
            refused=frozenset(place for place, answer in lost.items() if answer.fate is Fate.REFUSED),
            unsettled=frozenset(place for place, answer in lost.items() if answer.fate is Fate.UNSETTLED),
        )

    def _refusal(self, seen: str) -> CallError:
        return CallError(f"the batch {self.batch_id} holds {seen}. Its answers cannot be told apart, so none of them "
                         "is used; look at the batch in the provider's console", Remedy.STOP)  # fmt: skip


def tables(text: str, who: str, scrub: Scrubber) -> Iterator[dict[str, Any]]:
    """The lines of a JSONL file as objects. Raises CallError(RETRY) for one that is none."""
    return (table_of(line, who, scrub) for line in text.split("\n") if line.strip())


def text_in(table: Mapping[str, Any], name: str, who: str) -> str:
    """A text that a provider's object must have, such as its id. Raises CallError(RETRY)."""
    value = table.get(name)
    if not isinstance(value, str) or not value:
        raise CallError(f"{who} sent an object without {name!r}", Remedy.RETRY)
    return value


def objects(rows: object) -> list[dict[str, Any]]:
    """The objects of a list; what is none is left out."""
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def count_in(table: object, *names: str) -> int:
    """The sum of these counts, those that are none left out."""
    values = [table.get(name) for name in names] if isinstance(table, Mapping) else []
    return sum(value for value in values if type(value) is int and value >= 0)
