"""The nearest record: by the number of fields that differ, over a ledger's lines as over its records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.nearest import Difference, differences, nearest_of_lines, nearest_record
from apl_bench.judgments.record import Record
from apl_bench.types import JSON, Reply

CHAT: dict[str, JSON] = {
    "model": "m",
    "messages": [{"role": "system", "content": "compare"}, {"role": "user", "content": "A or B?"}],
    "temperature": 0.5,
    "repeat": 0,
}
leaves = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.5, 1.5]) | st.text("ab", max_size=2)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy"), inner), max_leaves=8
)
requests = st.dictionaries(st.text("xyz", min_size=1, max_size=2), values, max_size=4)


def record(request: dict[str, Any], raw: str = "A") -> Record:
    return Record.of(request, Reply(raw, "m"))


def lines(*records: Record) -> list[bytes]:
    return [item.to_line() for item in records]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"temperature": 0.7}, [("temperature", "0.7", "0.5")]),
        ({"repeat": True}, [("repeat", "true", "0")]),
        ({"repeat": "0"}, [("repeat", '"0"', "0")]),
        ({"seed": 1}, [("seed", "1", "nothing")]),
        ({"messages": [{"role": "system", "content": "compare"}]},
         [("messages[1].role", "nothing", '"user"'), ("messages[1].content", "nothing", '"A or B?"')]),
        ({"messages": []}, [("messages", "[]", "nothing"), ("messages[0].role", "nothing", '"system"'),
                            ("messages[0].content", "nothing", '"compare"'), ("messages[1].role", "nothing", '"user"'),
                            ("messages[1].content", "nothing", '"A or B?"')]),
    ],
)  # fmt: skip
def test_a_miss_is_explained_field_by_field(change: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    far = record({"other": 1})
    found = nearest_of_lines({**CHAT, **change}, lines(record(CHAT), far))
    assert found is not None
    assert found.key == record(CHAT).key
    assert sorted(map(str, found.differences)) == sorted(str(Difference(*item)) for item in expected)


@given(requests, st.lists(requests, max_size=5))
def test_lines_and_records_have_the_same_nearest_and_its_distance_is_the_least(
    wanted: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    records = [record(other) for other in others]
    found = nearest_of_lines(wanted, lines(*records))
    assert found == nearest_record(wanted, records)
    plain = json.loads(json.dumps(wanted))
    counts = [len(differences(plain, item.request)) for item in records]
    assert (found is None) == (not records)
    if found is not None:
        assert len(found.differences) == min(counts)
        assert found.key == records[counts.index(min(counts))].key


def test_what_is_no_record_is_passed_over() -> None:
    good = record({"model": "other"})
    forged = record(CHAT).to_line().replace(b'"raw":"A"', b'"raw":"B"')
    junk = [b"", b"\xff", b'{"request":{}}', b',"request":{"a":1},"sha256":"', b',"request":{' + b"[" * 9999, forged]
    found = nearest_of_lines(CHAT, [*junk, good.to_line(), *junk])
    assert found is not None
    assert found.key == good.key
    assert nearest_of_lines(CHAT, junk) is None


def test_a_reply_that_looks_like_a_request_is_not_taken_for_one() -> None:
    tricky = record(CHAT, ',"request":{"model":"x"},"sha256":"')
    found = nearest_of_lines(CHAT, lines(record({"model": "m"}), tricky))
    assert found is not None
    assert (found.key, found.differences) == (tricky.key, ())


def test_a_ledger_finds_its_nearest(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        assert ledger.nearest(CHAT) is None
        ledger.add([record({**CHAT, "repeat": number}) for number in range(1, 30)])
        found = ledger.nearest(CHAT)
        assert found is not None
        assert [str(item) for item in found.differences] == ["repeat: wanted 0, recorded 1"]
