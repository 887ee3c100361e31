"""A record as a line: what is written is read back, and nothing else is read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.judgments.keys import RequestError, canonical, request_key
from apl_bench.judgments.record import (
    FRAME_BYTES,
    MAX_DEPTH,
    MAX_GENERATION,
    MAX_LINE_BYTES,
    MAX_LOGPROBS,
    MAX_TOP,
    OUTCOMES,
    Record,
    RecordError,
)
from apl_bench.types import JSON, Reply, TokenLogprob

REQUEST: dict[str, JSON] = {"model": "m", "texts": ["a good film", "a bad film"], "repeat": 0}
REPLY = Reply("Preferred: A", "m-2", "ok", "stop", "r-1", {"input_tokens": 7}, 0.25)

texts = st.text(st.characters(exclude_categories=["Cs"]))
logps = st.floats(-1e9, 0)
token_logprobs = st.builds(TokenLogprob, texts, logps, st.lists(st.tuples(texts, logps), max_size=3).map(tuple))
replies = st.builds(
    Reply,
    raw=texts,
    model=texts,
    outcome=st.sampled_from(OUTCOMES),
    finish_reason=st.none() | texts,
    response_id=st.none() | texts,
    usage=st.dictionaries(texts, st.integers(0, 2**53 - 1), max_size=3),
    latency_s=st.none() | st.floats(0, 1e300),
    logprobs=st.lists(token_logprobs, max_size=3).map(tuple),
)


def table(**changes: Any) -> dict[str, Any]:
    """The record's object, changed and sealed again: what a forger could make."""
    value = json.loads(Record.of(REQUEST, REPLY).to_line()) | changes
    body = {name: item for name, item in value.items() if name != "sha256"}
    return body | {"sha256": hashlib.sha256(rfc8785.dumps(body)).hexdigest()}


def line(**changes: Any) -> bytes:
    return rfc8785.dumps(table(**changes))


def test_a_line_by_hand() -> None:
    request = '{"k":"oracle-key/1","kind":"pairwise","model":"m","repeat":0,"texts":["a good film","a bad film"]}'
    reply = ('{"finish_reason":"stop","latency_s":0.25,"model":"m-2","outcome":"ok","raw":"Preferred: A",'
             '"response_id":"r-1","usage":{"input_tokens":7}}')  # fmt: skip
    key = hashlib.sha256(request.encode()).hexdigest()
    body = f'{{"key":"{key}","record":"oracle-record/1","reply":{reply},"request":{request}'
    seal = hashlib.sha256((body + "}").encode()).hexdigest()
    assert Record.of(REQUEST, REPLY).to_line() == f'{body},"sha256":"{seal}"}}\n'.encode()


def test_log_probabilities_and_a_generation_stand_in_the_line_only_where_there_are_any() -> None:
    logprobs = (TokenLogprob("A", -0.25, (("A", -0.25), ("B", -2.0))), TokenLogprob(".", 0.0, ()))
    plain, whole = Record.of(REQUEST, REPLY), Record.of(REQUEST, replace(REPLY, logprobs=logprobs), generation=2)
    assert whole.key == plain.key
    line = whole.to_line().decode()
    assert line.startswith(f'{{"generation":2,"key":"{plain.key}","record":"oracle-record/1","reply":{{"finish_reason"')
    assert '"latency_s":0.25,"logprobs":[["A",-0.25,[["A",-0.25],["B",-2]]],[".",0,[]]],"model":"m-2"' in line
    assert Record.from_line(line.encode()) == whole
    assert "generation" not in plain.to_line().decode()
    assert "logprobs" not in plain.to_line().decode()


@pytest.mark.parametrize("generation", [0, -1, 1.5, True, None, "1", MAX_GENERATION + 1])
def test_a_generation_is_a_count(generation: Any) -> None:
    with pytest.raises(RecordError, match="its generation is"):
        Record.from_line(line(generation=generation))
    if generation != 0:
        with pytest.raises(RecordError, match="its generation is"):
            Record.of(REQUEST, REPLY, generation)
        with pytest.raises(RecordError, match="its generation is"):
            replace(Record.of(REQUEST, REPLY), generation=generation).to_line()


@pytest.mark.parametrize(
    "logprobs",
    [
        [],
        {},
        None,
        "A",
        ["A"],
        [["A", -1]],
        [["A", "-1", []]],
        [["A", None, []]],
        [["A", True, []]],
        [[1, -1, []]],
        [["A", -1, {}]],
        [["A", -1, [["A"]]]],
        [["A", -1, [["A", -1, []]]]],
        [["A", -1, [["A", "x"]]]],
        [["A", -1, []]] * (MAX_LOGPROBS + 1),
        [["A", -1, [["A", -1]] * (MAX_TOP + 1)]],
    ],
)
def test_log_probabilities_are_of_their_types_and_sizes(logprobs: Any) -> None:
    with pytest.raises(RecordError, match=r"reply\.logprobs.*expected"):
        Record.from_line(line(reply=table()["reply"] | {"logprobs": logprobs}))


@pytest.mark.parametrize("logp", [float("nan"), float("-inf")])
def test_a_log_probability_that_is_no_number_is_not_recorded(logp: float) -> None:
    with pytest.raises(RequestError, match=r"\$\.logprobs\[0\]\[2\]\[0\]\[1\] is"):
        Record.of(REQUEST, replace(REPLY, logprobs=(TokenLogprob("A", -1.0, (("B", logp),)),)))


@given(
    st.dictionaries(texts.filter(lambda name: name not in ("k", "kind")), st.floats(-1e25, 1e25) | texts),
    replies,
    st.integers(0, MAX_GENERATION),
)
def test_what_is_written_is_read(request: dict[str, Any], reply: Reply, generation: int) -> None:
    record = Record.of(request, reply, generation)
    written = record.to_line()
    assert Record.from_line(written) == record == Record.from_line(written[:-1])
    assert written.count(b"\n") == 1
    assert record.reply == reply


def test_no_byte_can_change() -> None:
    whole = Record.of(REQUEST, REPLY).to_line()[:-1]
    for place in range(len(whole)):
        for byte in (whole[place] ^ 1, whole[place] ^ 0x80):
            with pytest.raises(RecordError):
                Record.from_line(whole[:place] + bytes([byte]) + whole[place + 1 :])


def test_no_part_of_a_line_is_a_line() -> None:
    whole = Record.of(REQUEST, REPLY).to_line()[:-1]
    for end in range(len(whole)):
        with pytest.raises(RecordError):
            Record.from_line(whole[:end])


def test_a_changed_reply_does_not_pass_for_the_recorded_one() -> None:
    forged = Record.of(REQUEST, REPLY).to_line().replace(b"Preferred: A", b"Preferred: B")
    with pytest.raises(RecordError, match="changed after it was written"):
        Record.from_line(forged)


def test_a_key_that_is_not_of_the_request_does_not_pass() -> None:
    other = Record.of({**REQUEST, "repeat": 1}, REPLY)
    with pytest.raises(RecordError, match="not that of its request"):
        Record.from_line(line(key=other.key))
    with pytest.raises(RecordError, match=r"use Record\.of"):
        Record(other.key, REQUEST, REPLY).to_line()


def test_a_key_twice_does_not_pass() -> None:
    twice = line()[:-1] + b',"sha256":"' + table()["sha256"].encode() + b'"}'
    with pytest.raises(RecordError, match="canonical form"):
        Record.from_line(twice)


@pytest.mark.parametrize(
    "spelt_otherwise", [json.dumps(table()).encode(), line() + b" ", line().replace(b"0.25", b"2.5e-1")]
)
def test_only_the_canonical_spelling_passes(spelt_otherwise: bytes) -> None:
    with pytest.raises(RecordError, match="canonical form"):
        Record.from_line(spelt_otherwise)


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": 1},
        {"record": "oracle-record/2"},
        {"key": 7},
        {"key": "0" * 63},
        {"request": []},
        {"request": {"model": "m"}},
        {"request": {"k": "oracle-key/2", "kind": "pairwise"}},
        {"reply": "A"},
        {"reply": {"raw": "A"}},
        {"sha256": None},
    ],
)
def test_fields_are_what_they_must_be(changes: dict[str, Any]) -> None:
    sealed = table(**changes) | ({"sha256": None} if "sha256" in changes else {})
    with pytest.raises(RecordError):
        Record.from_line(rfc8785.dumps(sealed))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("raw", 1),
        ("raw", None),
        ("model", None),
        ("outcome", "transport error"),
        ("finish_reason", 1),
        ("response_id", False),
        ("usage", {"tokens": 1.5}),
        ("usage", {"tokens": True}),
        ("usage", {"tokens": -1}),
        ("usage", []),
        ("latency_s", "1"),
        ("latency_s", -1),
        ("latency_s", True),
        ("unknown", 1),
    ],
)
def test_a_mistyped_reply_is_neither_written_nor_read(name: str, value: Any) -> None:
    with pytest.raises(RecordError, match=f"{name}"):
        Record.from_line(line(reply=table()["reply"] | {name: value}))
    if name not in ("unknown", "usage"):
        with pytest.raises(RecordError, match=f"reply.{name} is .*expected"):
            Record.of(REQUEST, Reply(**{"raw": "A", "model": "m", name: value}))


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000, b"01", b"-0"])
def test_numbers_that_are_not_canonical_json_do_not_pass(number: bytes) -> None:
    with pytest.raises(RecordError):
        Record.from_line(line().replace(b"0.25", number))


def test_an_unpaired_surrogate_does_not_pass() -> None:
    for part in ('"raw"', '"Preferred: A"', '"repeat"', '"a good film"'):
        with pytest.raises(RecordError, match=r"no canonical form|has the fields"):
            Record.from_line(line().replace(part.encode(), b'"\\ud800"'))


@pytest.mark.parametrize("junk", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"\x80\x04.", b'"' + b"\x00" * 9 + b'"'])
def test_junk_is_no_record(junk: bytes) -> None:
    with pytest.raises(RecordError):
        Record.from_line(junk)


def test_the_longest_record_that_is_made_can_be_written_in_any_generation() -> None:
    def of(num: int) -> Record:
        return Record.of({"text": "x" * num}, REPLY, MAX_GENERATION)

    written = of(0).to_line()
    parts = sum(len(canonical(json.loads(written)[name])) for name in ("request", "reply"))
    assert len(written) - parts <= FRAME_BYTES
    longest = MAX_LINE_BYTES - FRAME_BYTES - parts
    assert len(of(longest).to_line()) <= MAX_LINE_BYTES
    with pytest.raises(RecordError, match="bytes"):
        of(longest + 1)


def test_size_and_depth_are_limited() -> None:
    huge: dict[str, JSON] = {"text": "x" * MAX_LINE_BYTES}
    with pytest.raises(RecordError, match="bytes"):
        Record.of(huge, REPLY)
    with pytest.raises(RecordError, match="bytes"):
        Record(request_key(huge), huge, REPLY).to_line()
    with pytest.raises(RecordError, match="more than"):
        Record.from_line(b" " * (MAX_LINE_BYTES + 1))
    for depth in (MAX_DEPTH, 100_000):
        with pytest.raises(RecordError, match=r"deep|JSON"):
            Record.from_line(line().replace(b"0.25", b"[" * depth + b"]" * depth))


def test_nan_in_a_request_is_refused_before_it_is_recorded() -> None:
    with pytest.raises(RequestError, match=r"\$\.temperature is nan"):
        Record.of({"temperature": float("nan")}, REPLY)
