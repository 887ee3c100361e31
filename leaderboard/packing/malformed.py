"""Whatever lines of strangers make our code raise is one finding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from apl_bench.failures import OracleError
from apl_bench.judgments.keys import RequestError
from apl_bench.judgments.record import RecordError
from apl_bench.leaderboard.findings import Refused, refuse, shown
from apl_bench.types import SpecError

# What lines that are none of ours make the code that reads them raise.
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, StopIteration, ArithmeticError, OracleError,
             RecordError, RequestError, RecursionError, SpecError)  # fmt: skip


@contextmanager
def malformed(place: str, code: str = "V112") -> Iterator[None]:
    """Raise Refused with this code for what is raised inside."""
    try:
        yield
    except Refused:
        raise
    except MALFORMED as error:
        sentence = f"it is not of the form that apl-bench writes: {type(error).__name__}: {shown(str(error))}"
        raise refuse(code, place, sentence, "build the submission with apl-bench submit, from runs as they were "
                     "written") from None  # fmt: skip
