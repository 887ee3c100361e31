"""Why an oracle gave no answer: one clear sentence each, and what the harness may do about it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Remedy(Enum):
    """What can be done about a call that failed."""

    RETRY = "retry"  # a fault of the moment: the same call may succeed
    SLOW_DOWN = "slow-down"  # the provider asks for fewer calls; retry after that
    STOP = "stop"  # no call can succeed until the user changes something


class CallError(Exception):
    """A call that brought no reply: a sentence for the user, what can be done, and the tokens it used all the same.

    `retry_after_s` is what the provider asked for. `answered`: it said that it did nothing (a status of 4xx or 5xx), so
    that a call without usage cost nothing; else the caps count all that the call could have used. The text holds no
    key: the backend scrubs it.
    """

    def __init__(
        self,
        sentence: str,
        remedy: Remedy,
        retry_after_s: float | None = None,
        usage: Mapping[str, int] | None = None,
        answered: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.remedy = remedy
        self.retry_after_s = retry_after_s
        self.usage = dict(usage or {})
        self.answered = answered


class BatchFailedError(CallError):
    """A provider gave up a batch as a whole: nothing in it was processed, so nothing was paid for.

    The remedy says what can be done: RETRY, the same requests may be sent in a new batch; STOP, they would be refused
    again.
    """


class OracleError(Exception):
    """An oracle broke its contract, or gave no answer: which one, what happened, what to do."""


class AwaitingLabels(Exception):  # noqa: N818 - its name is part of the interface: exit code 3
    """The run cannot go on before others answer: how many answers are missing, and where and how to give them."""

    def __init__(self, num_missing: int, how: str) -> None:
        super().__init__(f"awaiting {num_missing} labels. {how}")
        self.num_missing = num_missing
