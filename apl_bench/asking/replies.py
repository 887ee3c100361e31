"""What an oracle said, made into a record; a reply that the ledger cannot keep is told in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from apl_bench.asking.questions import Question
from apl_bench.failures import OracleError
from apl_bench.judgments.keys import request_key
from apl_bench.judgments.record import Record
from apl_bench.protocols import Oracle
from apl_bench.types import JSON, Reply


class BadReplyError(OracleError):
    """A reply that cannot stand in the ledger: whose it is, to which question, what is wrong with it, what to do."""


def name_of(oracle: Oracle) -> str:
    """The oracle's class as an entry point names it."""
    return f"{type(oracle).__module__}:{type(oracle).__qualname__}"


def check_request(oracle: Oracle, question: Question) -> None:
    """Raise OracleError for a request whose record nobody could read again, while nothing is paid for yet."""
    try:
        Record.from_line(Record.of(question.request, Reply("", "")).to_line())
    except ValueError as error:
        raise bad_request(oracle, error) from None


def bad_request(oracle: Oracle, error: ValueError) -> OracleError:
    """What is told of a request that cannot be recorded."""
    return OracleError(f"the oracle {name_of(oracle)} makes a request that cannot be recorded: {error}. Nothing was "
                       "sent; mend its method `request` or its parameters")  # fmt: skip


def record_of(oracle: Oracle, request: Mapping[str, JSON], reply: Reply) -> Record:
    """The record of a reply just received. Raises BadReplyError where it could not be written."""
    try:
        if not isinstance(reply, Reply):
            raise TypeError(f"it is of the type {type(reply).__name__}; expected apl_bench.types.Reply")
        return Record.of(request, reply)
    except (ValueError, TypeError, RecursionError) as error:  # RecordError and RequestError are the first
        raise BadReplyError(
            f"the oracle {name_of(oracle)} gave a reply that cannot be recorded, to the comparison with key "
            f"{request_key(request)}: {error}. It is not kept, though it may have been paid for; what was answered "
            "beside it is. Mend the oracle, and run the same command again"
        ) from None


@contextmanager
def explained_reading(oracle: Oracle, keys: Sequence[str]) -> Iterator[None]:
    """Turn what a `read` raises over a reply that it did not expect into an OracleError that says whose and which."""
    try:
        yield
    except (ValueError, LookupError) as error:
        raise OracleError(
            f"the oracle {name_of(oracle)} cannot read the recorded reply with key {', '.join(keys)}: "
            f"{type(error).__name__}: {error}. What cannot be read is Verdict.INVALID, and no error: mend its method "
            "`read`, and run the same command again; the reply is kept"
        ) from error


class Recording:
    """Makes records of replies one by one; the first that cannot be recorded is held as `error`, the others go on."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self.error: BadReplyError | None = None

    def records(self, answers: Iterable[tuple[Mapping[str, JSON], Reply]]) -> list[Record]:
        """The records of the good ones among requests with their replies."""
        good = []
        for request, reply in answers:
            try:
                good.append(record_of(self._oracle, request, reply))
            except BadReplyError as error:
                self.error = self.error or error
        return good
