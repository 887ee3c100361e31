"""check_oracle: does it state all that its answer depends on, read any reply, and mean the texts whatever the order?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import rfc8785

from apl_bench.checks.findings import run_stages
from apl_bench.contract import Finding
from apl_bench.protocols import Oracle
from apl_bench.types import JSON, Comparison, Completion, Pair, Prompt, Reply, Verdict

GARBAGE = ("", " \n", "I would rather not say", "{", "{}", "[]", "null", "NaN", "\x00", "9" * 5000, "[" * 5000)
_SIDES = (
    (" a delight from start to finish, and I loved it.", " a waste of two hours, boring and badly acted."),
    (" the worst thing I have seen this year.", " one of the best things I have seen this year."),
    (" bad bad bad bad bad bad", ' "funny", said nobody; but the café scene works.'),
)


def check_oracle(oracle: Oracle | Callable[[], Oracle]) -> list[Finding]:
    """What is wrong with an oracle (an instance or a factory). One that is not `local` is never asked: it may cost."""
    subject = oracle if isinstance(oracle, Oracle) else oracle()
    return run_stages(subject, _STAGES)


def _comparisons() -> list[Comparison]:
    prompt = Prompt("check", "I saw this film last week. It was")
    pairs = (Pair(prompt, *(Completion(text, (0,), finished=True) for text in sides)) for sides in _SIDES)
    return [Comparison(pair, swapped) for pair in pairs for swapped in (False, True)]


def _declarations(oracle: Oracle) -> Iterator[Finding]:
    if not getattr(oracle, "summary", ""):
        yield Finding("declaration", "summary is missing", "give it one line for `apl-bench list oracles`")
    if type(getattr(oracle, "local", None)) is not bool:
        yield Finding("declaration", "local is not stated", "True if it is deterministic and costs nothing, else False")


def _requests(oracle: Oracle) -> Iterator[Finding]:
    for comparison in _comparisons():
        request = oracle.request(comparison)
        try:
            same = rfc8785.dumps(_plain(request)) == rfc8785.dumps(_plain(oracle.request(comparison)))
        except rfc8785.CanonicalizationError as error:
            seen = f"the request has no canonical JSON: {error}"
            yield Finding("request-json", seen, "put only text, finite numbers, booleans, null, lists and tables in it")
            return
        if not same:
            yield Finding(
                "request-stable", "the same comparison gave two requests", "leave times and counters out of it"
            )
        texts = "\n".join(_texts(request))
        missing = [text for text in (comparison.pair.prompt.text, *comparison.shown) if text.strip() not in texts]
        if missing:
            seen = f"the request does not hold {missing[0]!r}, which is shown"
            yield Finding(
                "request-texts", seen, "put the prompt and both completions in it: they can change the answer"
            )


def _request_differences(oracle: Oracle) -> Iterator[Finding]:
    comparison = _comparisons()[0]
    request = oracle.request(comparison)
    if oracle.request(comparison.swap()) == request:
        seen = "both orders of presentation make the same request"
        yield Finding("request-order", seen, "build it from comparison.shown, first text first")
    if oracle.request(Comparison(comparison.pair, comparison.swapped, repeat=1)) == request:
        seen = "asking again (repeat 1) makes the same request"
        yield Finding(
            "request-repeat", seen, "put comparison.repeat in it, so that a repeat is asked and not remembered"
        )


def _reading_of_garbage(oracle: Oracle) -> Iterator[Finding]:
    for raw in GARBAGE:
        try:
            reading = oracle.read(Reply(raw=raw, model="check"))
        except Exception as error:  # an oracle may fail in any way, and saying so is what the kit is for
            seen = f"read raised {type(error).__name__} on the reply {raw[:24]!r}"
            yield Finding("read-raises", seen, "return Reading(Verdict.INVALID) for what cannot be read")
            continue
        if reading.verdict is not Verdict.INVALID:
            seen = f"the reply {raw[:24]!r} was read as {reading.verdict.value}"
            yield Finding("read-garbage", seen, "return Verdict.INVALID: an unreadable reply is no vote, coin or tie")


def _answers(oracle: Oracle) -> Iterator[Finding]:
    comparisons = _comparisons()
    replies = list(oracle.ask(comparisons))
    if len(replies) != len(comparisons):
        seen = f"{len(replies)} replies to {len(comparisons)} comparisons"
        yield Finding("ask-count", seen, "return one reply for each comparison, in order")
        return
    for reply in replies:
        reading = oracle.read(reply)
        if reading.verdict is Verdict.INVALID:
            yield Finding(
                "ask-read", f"it cannot read its own reply {reply.raw[:60]!r}", "make `read` the inverse of `ask`"
            )
        if reading.p_first is not None and not 0 <= reading.p_first <= 1:
            seen = f"p_first is {reading.p_first}"
            yield Finding("p-first", seen, "give the probability of FIRST, in [0, 1], or None")


def _repeatability(oracle: Oracle) -> Iterator[Finding]:
    comparisons = _comparisons()
    together = _raw(oracle.ask(comparisons))
    if _raw(oracle.ask(comparisons)) != together:
        yield Finding("determinism", "the same question got two answers", "a local oracle is a function of the texts")
    elif [raw for comparison in comparisons for raw in _raw(oracle.ask([comparison]))] != together:
        seen = "a comparison got another answer when it was asked alone"
        yield Finding("batch", seen, "answer each comparison for itself, in the order given")


def _exchange(oracle: Oracle) -> Iterator[Finding]:
    comparisons = _comparisons()
    readings = [oracle.read(reply) for reply in oracle.ask(comparisons)]
    verdicts = [reading.verdict.unswap(shown.swapped) for reading, shown in zip(readings, comparisons, strict=True)]
    flipped = [pair for pair in zip(verdicts[::2], verdicts[1::2], strict=True) if pair[0] is not pair[1]]
    if flipped:
        seen = f"{len(flipped)} of {len(verdicts) // 2} verdicts changed with the order of presentation"
        yield Finding("swap", seen, "judge the texts, and say FIRST or SECOND of the order shown (comparison.shown)")


def _local(*checks: Callable[[Oracle], Iterator[Finding]]) -> tuple[Callable[[Oracle], Iterator[Finding]], ...]:
    return tuple(_if_local(check) for check in checks)


def _if_local(check: Callable[[Oracle], Iterator[Finding]]) -> Callable[[Oracle], Iterator[Finding]]:
    def checked(oracle: Oracle) -> Iterator[Finding]:
        return check(oracle) if oracle.local else iter(())

    checked.__name__ = check.__name__
    return checked


def _plain(value: JSON) -> JSON:
    """The value with mappings as dict and sequences as list, which is what a canonical writer takes."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _texts(value: JSON) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _texts(item)


def _raw(replies: Iterable[Reply]) -> list[str]:
    return [reply.raw for reply in replies]


_STAGES = (
    (_declarations,),
    (_requests,),
    (_request_differences, _reading_of_garbage),
    _local(_answers),
    _local(_repeatability, _exchange),
)
