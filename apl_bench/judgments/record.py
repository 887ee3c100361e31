"""One judgment as one line of JSON, sealed with the sha256 of its own canonical form.

    {"key":"<64 hex>","record":"oracle-record/1","reply":{...},"request":{"k":"oracle-key/1",...},"sha256":"<64 hex>"}

The line is RFC 8785 canonical JSON; the seal is over the same object without `sha256`; the key is the sha256 of
`request` exactly as it stands in the line. So a reader needs nothing but a hash function to check one. What is asked
again on purpose begins with `{"generation":1,`; a reply whose log-probabilities came back has `logprobs`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from apl_bench.judgments.keys import KEY_VERSION, KIND, RequestError, canonical, keyed, parse
from apl_bench.types import JSON, Reply, TokenLogprob

RECORD_VERSION = "oracle-record/1"
OUTCOMES = ("ok", "truncated", "refused", "filtered")
MAX_LINE_BYTES = 4 * 2**20
FRAME_BYTES = 256  # of a line at most, beside its request and its reply: names, key, seal, generation
MAX_DEPTH = 16
MAX_GENERATION = 10**6
MAX_LOGPROBS, MAX_TOP = 16_384, 128  # tokens of a reply that have log-probabilities, and alternatives of one of them

_FIELDS = {"key", "record", "reply", "request", "sha256"}
_REPLY_FIELDS = {field.name for field in fields(Reply)} - {"logprobs"}
_HEX = re.compile(r"[0-9a-f]{64}")


class RecordError(ValueError):
    """A line, a request or a reply that cannot stand in the ledger: what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Record:
    """A request to an oracle, its key, and the reply that it got; `generation` counts how often all was asked anew."""

    key: str
    request: Mapping[str, JSON]
    reply: Reply
    generation: int = 0

    @classmethod
    def of(cls, request: Mapping[str, JSON], reply: Reply, generation: int = 0) -> Self:
        """The record of a reply just received: equal to what reading its line gives.

        Raises RecordError where the reply's fields are not of their types or its line would be too long, RequestError
        for what JSON does not have.
        """
        asked, answer = canonical(keyed(request)), canonical(reply_table(reply))
        _refuse_length(len(asked) + len(answer) + FRAME_BYTES)
        plain = _request(parse(asked.decode()))
        return cls(_sha256(asked), plain, reply_of(parse(answer.decode())), _generation(generation, lowest=0))

    def to_line(self) -> bytes:
        """The sealed line, ended by a newline. Raises RecordError if it is too long or the key is not the request's."""
        request = canonical(keyed(self.request))
        if _sha256(request) != self.key:
            raise RecordError(f"the key {self.key!r} is not that of its request ({_sha256(request)}); use Record.of")
        head = _head(self.key, _generation(self.generation, lowest=0))
        line = _sealed(head, canonical(reply_table(self.reply)), request) + b"\n"
        _refuse_length(len(line))
        return line

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """The record that a line holds, with or without its newline, believed in nothing.

        Raises RecordError for a line that is too long or nested too deep, is not canonical JSON (which no line with
        a repeated key is), has unknown, missing or mistyped fields, was changed after it was sealed, or whose key is
        not that of its request.
        """
        line = line.removesuffix(b"\n")
        table = _parse(line)
        reply, request = _canonical_part(table, "reply"), _canonical_part(table, "request")
        key = table["key"]
        if table["record"] != RECORD_VERSION or not (isinstance(key, str) and _HEX.fullmatch(key)):
            raise RecordError(f"it is {repr(table['record'])[:80]} with key {repr(key)[:80]}; expected "
                              f"{RECORD_VERSION!r} and a key of 64 hexadecimal digits")  # fmt: skip
        generation = _generation(table["generation"], lowest=1) if "generation" in table else 0
        _check_seal(line, table["sha256"], _sealed(_head(key, generation), reply, request))
        if _sha256(request) != key:
            raise RecordError(f"its key {key} is not that of its request, {_sha256(request)}")
        return cls(key, _request(table["request"]), reply_of(table["reply"]), generation)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _refuse_length(num_bytes: int) -> None:
    if num_bytes > MAX_LINE_BYTES:
        raise RecordError(f"the record has {num_bytes} bytes; expected at most {MAX_LINE_BYTES}: shorten the texts")


def _head(key: str, generation: int) -> bytes:
    """What stands before the reply. Generation 0 is not named, so that the lines of before it was counted are whole."""
    counted = f'"generation":{generation},' if generation else ""
    return f'{{{counted}"key":"{key}","record":"{RECORD_VERSION}"'.encode()


def _sealed(head: bytes, reply: bytes, request: bytes) -> bytes:
    """The line without its newline, from parts that are canonical: the names stand in the order of RFC 8785."""
    body = b'%b,"reply":%b,"request":%b' % (head, reply, request)
    return body + b',"sha256":"%b"}' % _sha256(body + b"}").encode()


def _check_seal(line: bytes, seal: object, expected: bytes) -> None:
    if line == expected:
        return
    if seal == expected[-66:-2].decode():
        raise RecordError("it is not in RFC 8785 canonical form (a key twice, spaces, another order or spelling)")
    raise RecordError(f"its sha256 is {repr(seal)[:80]}, and its content does not hash to that: it was changed "
                      "after it was written")  # fmt: skip


def _parse(line: bytes) -> dict[str, Any]:
    """The line's object with exactly the fields of a record."""
    if len(line) > MAX_LINE_BYTES:
        raise RecordError(f"it has more than {MAX_LINE_BYTES} bytes")
    try:
        table = parse(line.decode("utf-8"))
    except (ValueError, OverflowError, RecursionError) as error:
        raise RecordError(f"it is not JSON: {error}") from None
    _expect_fields("a record", table, _FIELDS, optional="generation")
    _refuse_depth(table, MAX_DEPTH)
    return dict(table)


def _refuse_depth(value: object, levels: int) -> None:
    if levels == 0:
        raise RecordError(f"it is nested deeper than {MAX_DEPTH} levels")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(item, (dict, list)):
            _refuse_depth(item, levels - 1)


def _expect_fields(what: str, table: object, expected: set[str], optional: str) -> None:
    if not isinstance(table, dict):
        raise RecordError(f"{what} is {type(table).__name__}; expected an object")
    if table.keys() - {optional} != expected:
        raise RecordError(f"{what} has the fields {sorted(table)!r}; expected {sorted(expected)!r}")


def _generation(value: object, lowest: int) -> int:
    if type(value) is not int or not lowest <= value <= MAX_GENERATION:
        raise RecordError(f"its generation is {repr(value)[:80]}; expected a whole number from {lowest} to "
                          f"{MAX_GENERATION}")  # fmt: skip
    return value


def _canonical_part(table: Mapping[str, Any], name: str) -> bytes:
    try:
        return canonical(table[name])
    except RequestError as error:
        raise RecordError(f"its {name} has no canonical form: {error}") from None


def _request(table: object) -> dict[str, JSON]:
    if not isinstance(table, dict) or (table.get("k"), table.get("kind")) != (KEY_VERSION, KIND):
        raise RecordError(f"its request is not of {KEY_VERSION!r} and kind {KIND!r}")
    return {name: value for name, value in table.items() if name not in ("k", "kind")}


def reply_table(reply: Reply) -> dict[str, JSON]:
    """A reply as a record has it."""
    table: dict[str, JSON] = {
        "raw": reply.raw,
        "model": reply.model,
        "outcome": reply.outcome,
        "finish_reason": reply.finish_reason,
        "response_id": reply.response_id,
        "usage": dict(reply.usage),
        "latency_s": reply.latency_s,
    }
    if reply.logprobs:
        table["logprobs"] = [[token, logp, top] for token, logp, top in reply.logprobs]
    return table


def reply_of(table: object) -> Reply:
    """The reply that a table holds, each field of its type."""
    _expect_fields("its reply", table, _REPLY_FIELDS, optional="logprobs")
    assert isinstance(table, dict)
    raw, model, outcome, usage, latency = (table[name] for name in ("raw", "model", "outcome", "usage", "latency_s"))
    _expect("raw", raw, isinstance(raw, str), "a text")
    _expect("model", model, isinstance(model, str), "a text")
    _expect("outcome", outcome, outcome in OUTCOMES, " or ".join(OUTCOMES))
    for name in ("finish_reason", "response_id"):
        _expect(name, table[name], isinstance(table[name], (str, type(None))), "a text or null")
    counted = isinstance(usage, dict) and all(type(count) is int and count >= 0 for count in usage.values())
    _expect("usage", usage, counted, "counts of 0 or more, by name")
    _expect("latency_s", latency, latency is None or (type(latency) in (int, float) and latency >= 0),
            "null or seconds of 0 or more")  # fmt: skip
    return Reply(raw, model, outcome, table["finish_reason"], table["response_id"], usage,
                 None if latency is None else float(latency), _logprobs(table))  # fmt: skip


def _logprobs(table: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """The log-probabilities of a reply's tokens: [[token, logp, [[token, logp], ...]], ...], none where not named."""
    if "logprobs" not in table:
        return ()
    tokens = table["logprobs"]
    _expect("logprobs", tokens, isinstance(tokens, list) and 1 <= len(tokens) <= MAX_LOGPROBS,
            f"a list of 1 to {MAX_LOGPROBS} tokens")  # fmt: skip
    return tuple(_token_logprob(token, f"logprobs[{place}]") for place, token in enumerate(tokens))


def _token_logprob(token: Any, place: str) -> TokenLogprob:
    shaped = isinstance(token, list) and len(token) == 3 and isinstance(token[2], list) and len(token[2]) <= MAX_TOP
    _expect(place, token, shaped and all(map(_is_scored, [token[:2], *token[2]])),
            f"[token, logp, [[token, logp], ...]] with finite numbers and at most {MAX_TOP} alternatives")  # fmt: skip
    return TokenLogprob(token[0], float(token[1]), tuple((text, float(logp)) for text, logp in token[2]))


def _is_scored(item: Any) -> bool:
    """True for [text, finite number]."""
    if not (isinstance(item, list) and len(item) == 2 and isinstance(item[0], str)):
        return False
    return type(item[1]) in (int, float) and math.isfinite(item[1])


def _expect(name: str, value: object, condition: bool, expected: str) -> None:
    if not condition:
        raise RecordError(f"reply.{name} is {repr(value)[:80]}; expected {expected}")
