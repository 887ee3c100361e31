"""The key of a request: golden values from an independent implementation (ECMAScript's JSON.stringify), and laws."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from apl_bench.judgments.keys import RequestError, canonical, parse, request_key
from apl_bench.types import JSON

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "oracle_keys.json").read_text(encoding="utf-8"))

leaves = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
names = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda name: name not in ("k", "kind"))
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=12)
requests = st.dictionaries(names, values, max_size=5)


@pytest.mark.parametrize("case", GOLDEN, ids=[case["why"] for case in GOLDEN])
def test_golden_keys(case: dict[str, Any]) -> None:
    assert request_key(case["request"]) == case["key"]
    assert hashlib.sha256(case["canonical"].encode()).hexdigest() == case["key"]


def test_golden_keys_are_distinct_but_for_the_order_of_fields() -> None:
    keys = [case["key"] for case in GOLDEN]
    assert len(set(keys)) == len(keys) - 1


def test_a_key_by_hand() -> None:
    text = '{"k":"oracle-key/1","kind":"pairwise","model":"m","repeat":0,"texts":["a","b"]}'
    request: dict[str, JSON] = {"texts": ["a", "b"], "repeat": 0, "model": "m"}
    assert request_key(request) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 2**53, b"bytes", {"a", "set"}, "lone \ud83d surrogate"])
def test_what_json_does_not_have_is_refused_with_its_place(bad: Any) -> None:
    with pytest.raises(RequestError, match=r"\$\.parameters\[1\]\.temperature is .*expected"):
        request_key({"model": "m", "parameters": [0.5, {"temperature": bad}]})


@pytest.mark.parametrize("name", [1, None, b"model", ("a",), True])
def test_a_name_that_is_not_text_is_refused(name: Any) -> None:
    with pytest.raises(RequestError, match=r"a key of \$\.parameters is"):
        request_key({"parameters": {name: 1}})


def test_bottomless_nesting_is_refused() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(RequestError, match="nested too deep"):
        canonical(value)


@pytest.mark.parametrize("name", ["k", "kind"])
def test_a_request_cannot_overwrite_the_version_or_the_kind(name: str) -> None:
    with pytest.raises(RequestError, match=f"field '{name}'"):
        request_key({name: "oracle-key/9"})


@given(requests)
def test_the_order_of_fields_does_not_matter(request: dict[str, Any]) -> None:
    assert request_key(request) == request_key(dict(reversed(request.items())))


@given(requests)
def test_reading_the_canonical_form_keeps_the_key(request: dict[str, Any]) -> None:
    assert request_key(parse(canonical(request).decode())) == request_key(request)


class Shouting(str):
    """A text of a subclass, which other encoders may write in its own way."""

    __slots__ = ()


@given(st.dictionaries(names | st.text("a\ud7ff\ue000\uffff\U00010000\U0010ffff"), values))
@example({"\ue000": 1, "\U00010000": 2})  # in UTF-16 the second comes first
@example({"a": 1e16, "b": 1e-5, "c": 1e-7, "d": 1e21, "e": 1.0, "f": -0.0, "g": 5e-324, "h": 2**53 - 1, "i": 0.1})
@example({"a": True, "b": [None, ()], "c": Shouting('"\\\x00\x1f\x7f\u2028\n'), "d": {}})
def test_the_fast_way_to_the_canonical_form_leads_there(value: dict[str, Any]) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("bad", [{1: "a"}, {"a": float("inf")}, {"\ud800": 1}, {"a": "\udfff"}, {"a": 2**53}])
def test_the_fast_way_takes_nothing_that_has_no_canonical_form(bad: Any) -> None:
    with pytest.raises(RequestError):
        canonical(bad)
