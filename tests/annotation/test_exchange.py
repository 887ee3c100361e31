"""Files that leave and come back: nothing is lost on the way, and nothing false is taken."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.annotation.argilla import user_id
from apl_bench.annotation.exchange import READERS, WRITERS, Taken, accept, read_text, shuffled
from apl_bench.annotation.items import Answer, Item
from apl_bench.annotation.label_studio import labelling_config
from apl_bench.annotation.queue import Queue
from apl_bench.types import SpecError
from tests.annotation.queues import check_of, item, queue_of

HOSTILE = ('=HYPERLINK("http://x")', "<script>alert(1)</script>", "$first", "http://127.0.0.1/x", "\u202eabc",
           "a\r\nb\u2028c", "\x00\x1b[31m", "]]>", "😀" * 50, "x" * 10_000)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(HOSTILE)
NAMES = st.sampled_from(["data", "fields", "annotations", "status", "responses", "x"])
JSON_VALUES = st.recursive(
    st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)
)
SAID = st.dictionaries(st.sampled_from(["ann", "bob", "e-v_3"]), st.sampled_from("ABTS"), max_size=3)


def answer(one: Item, verdict: str, annotator: str, started: str | None = "2026-11-21T12:00:00.250Z") -> Answer:
    return Answer(one.id, verdict, annotator, started, "2026-11-21T12:00:03.750Z", "page/1", 0)


@pytest.mark.parametrize("form", WRITERS)
@given(texts=st.lists(st.tuples(TEXT, TEXT, SAID), min_size=1, max_size=5))
def test_what_is_written_is_read_back(form: str, texts: list[tuple[str, str, Mapping[str, str]]]) -> None:
    items = [item(number, first or "-", second or "-") for number, (first, second, _) in enumerate(texts)]
    answers = [
        answer(one, verdict, who)
        for one, (_, _, said) in zip(items, texts, strict=True)
        for who, verdict in said.items()
    ]
    back = [
        (label.item, label.sha256, label.shown, label.verdict, label.annotator, label.started, label.submitted)
        for label in READERS[form](WRITERS[form](items, answers))
    ]
    by_id = {one.id: one for one in items}
    expected = []
    for one in answers:
        shown = by_id[one.item]
        who = f"argilla-{user_id(one.annotator)}" if form == "argilla" else one.annotator
        times = (None, None) if form == "argilla" else (one.started, one.submitted)
        texts_shown = (shown.question, shown.prompt, shown.first, shown.second)
        expected.append((one.item, shown.digest, texts_shown, one.verdict, who, *times))
    assert back == expected


@pytest.mark.parametrize("form", WRITERS)
def test_a_queue_answered_elsewhere_gets_its_labels(tmp_path: Path, form: str) -> None:
    items = [item(number) for number in range(3)]
    queue = queue_of(tmp_path, [*items, check_of(items[0], "swap")])
    going = shuffled(queue.refresh().open_items())
    assert len(going) == 4
    file = tmp_path / "answered"
    file.write_text(WRITERS[form](going, [answer(one, "B", "ann") for one in going]))
    assert accept(queue, READERS[form](read_text(file)), None) == Taken(4, 0)
    assert accept(queue, READERS[form](read_text(file)), None) == Taken(0, 4)
    state = queue.refresh()
    assert state.undecided() == []
    assert {one.ui_version for one in state.answers[items[0].id]} == {"import/1"}
    assert sorted(one.sequence for found in state.answers.values() for one in found) == [1, 2, 3, 4]


@pytest.mark.parametrize("form", WRITERS)
def test_what_leaves_does_not_tell_a_check_from_an_item(form: str) -> None:
    one = item(1)
    written = WRITERS[form]([one, check_of(one, "repeat")], [])
    assert "repeat" not in written
    assert written.count(one.id) == 1


def line(**changes: Any) -> str:
    table = json.loads(WRITERS["jsonl"]([item(1)], [answer(item(1), "A", "ann")]))
    return json.dumps({name: value for name, value in {**table, **changes}.items() if value != "gone"}) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "line 1 is not JSON"),
        ("\n" + line() + "{}", "line 3: expected the fields"),
        (line(more=1), "line 1: expected the fields"),
        (line(verdict="gone"), "line 1: expected the fields"),
        (line(schema="apl-annotate/2"), "expected schema 'apl-annotate/1'"),
        (line().replace('"verdict": "A"', '"verdict": "A", "verdict": "B"'), "a name stands twice"),
        (line(item="f" * 32), "line 1: no item 'ffff"),
        (line(item=["x"]), "line 1: no item"),
        (line(sha256="0" * 64), "others, or were changed"),
        (line(first="another text"), "others, or were changed"),
        (line(question="Which is worse?"), "others, or were changed"),
        (line(verdict="C"), "a verdict of A, B, T, S, not 'C'"),
        (line(verdict=["A"]), "a verdict of A, B, T, S"),
        (line(annotator=None), "who answered; give --annotator"),
        (line(annotator="../ann"), "an annotator of 1 to 64 letters"),
        (line(annotator=7), "an annotator of 1 to 64 letters"),
        (line(submitted="yesterday"), "a UTC time such as"),
        (line(started=12), "a UTC time such as"),
        (line() + line(verdict="B"), "line 2: expected 'ann' has answered this item with A, not B"),
        ("[" * 100_000, "line 1 is not JSON"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_whole(tmp_path: Path, text: str, message: str) -> None:
    queue = queue_of(tmp_path, [item(1), item(2)])
    good = WRITERS["jsonl"]([item(2)], [answer(item(2), "A", "ann")])
    with pytest.raises(SpecError) as raised:
        accept(queue, READERS["jsonl"](text + "\n" + good), None)
    assert message in str(raised.value)
    assert queue.refresh().by("ann") == []


def test_an_import_agrees_with_what_was_answered_here(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(1)])
    queue.submit(item(1).id, "B", "ann", None, "page/1")
    with pytest.raises(SpecError, match="has answered this item with B, not A"):
        accept(queue, READERS["jsonl"](line()), None)
    assert accept(queue, READERS["jsonl"](line(annotator=None)), "bob") == Taken(1, 0)
    assert [one.annotator for one in queue.refresh().deciding(item(1))] == ["ann"]


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_bytes(b"\xff\xfe{}")
    with pytest.raises(SpecError, match="is not UTF-8"):
        read_text(file)


def test_the_configuration_is_xml_whatever_the_question_says() -> None:
    one = item(1)
    asked = [Item(one.id, "label", one.id, question, "p", "a", "b", 1) for question in ('"><script>', "a & b")]
    for items in ([asked[0]], [asked[1]], asked):
        root = ET.fromstring(labelling_config(items))
        header = root.find("Header")
        assert header is not None
        assert header.get("value") == ("$question" if len(items) > 1 else items[0].question)
        pairwise = root.find("Pairwise")
        assert pairwise is not None
        assert pairwise.get("toName") == "first,second"
        assert {text.get("valueType") for text in root.iter("Text")} == {"text"}


def exported(one: Item, **annotation: Any) -> str:
    """A task as Label Studio 1.20 exports it, as far as it matters."""
    data = {"item": one.id, "sha256": one.digest, "question": one.question, "prompt": one.prompt,
            "first": one.first, "second": one.second}  # fmt: skip
    result = {"value": {"selected": "right"}, "id": "kvIgqO1AQ9", "from_name": "preference", "to_name": "preference",
              "type": "pairwise", "origin": "manual"}  # fmt: skip
    given = {"id": 3, "completed_by": 1, "result": [result], "was_cancelled": False, "ground_truth": False,
             "created_at": "2026-11-21T12:39:54.721157Z", "updated_at": "2026-11-21T12:39:54.721188Z",
             "lead_time": 7.5, "prediction": {}, "task": 1}  # fmt: skip
    return json.dumps([{"id": 1, "annotations": [{**given, **annotation}], "data": data, "meta": {}}])


TIE = {"value": {"choices": ["Tie"]}, "from_name": "tie", "to_name": "prompt", "type": "choices"}
LEFT = {"value": {"selected": "left"}, "from_name": "preference", "to_name": "preference", "type": "pairwise"}


@pytest.mark.parametrize(
    ("annotation", "verdict"),
    [({}, "B"), ({"result": [LEFT]}, "A"), ({"result": [TIE]}, "T"), ({"result": [], "was_cancelled": True}, "S")],
)
def test_what_label_studio_exports_is_read(tmp_path: Path, annotation: dict[str, Any], verdict: str) -> None:
    queue = queue_of(tmp_path, [item(1)])
    assert accept(queue, READERS["label-studio"](exported(item(1), **annotation)), None) == Taken(1, 0)
    (found,) = queue.refresh().by("label-studio-1")
    assert (found.verdict, found.started, found.submitted) == (
        verdict, "2026-11-21T12:39:47.221Z", "2026-11-21T12:39:54.721Z")  # fmt: skip


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"result": []}, "there are 0"),
        ({"result": [LEFT, TIE]}, "there are 2"),
        ({"result": [{**LEFT, "value": {"selected": "none"}}]}, "there are 0"),
        ({"result": [{**LEFT, "value": 3}]}, "results with a value"),
        ({"result": [3]}, "results with a value"),
        ({"result": "left"}, "there are 0"),
        ({"completed_by": "ann"}, "the number of the annotator"),
        ({"completed_by": None}, "give --annotator"),
        ({"created_at": "yesterday"}, "created_at as ISO 8601"),
        ({"created_at": 3}, "created_at as ISO 8601"),
        ({"lead_time": "long"}, "lead_time in seconds"),
        ({"lead_time": 1e300}, "lead_time in seconds"),
    ],
)
def test_what_label_studio_would_not_write_is_refused(tmp_path: Path, annotation: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match="task 1") as raised:
        accept(queue_of(tmp_path, [item(1)]), READERS["label-studio"](exported(item(1), **annotation)), None)
    assert message in str(raised.value)


def record(one: Item, **changes: Any) -> dict[str, Any]:
    """A record as Argilla 2.8 writes it with `dataset.records.to_json`."""
    fields = {"question": one.question, "prompt": one.prompt, "first": one.first, "second": one.second}
    responses = {"preference": [{"value": "T", "user_id": "d2ff4b7e-5b4f-4a0b-9c5c-111111111111"}]}
    return {"id": one.id, "fields": fields, "metadata": {"sha256": one.digest}, "suggestions": {},
            "responses": responses, "vectors": {}, "status": "completed",
            "_server_id": "0d2ff4b7-5b4f-4a0b-9c5c-222222222222", **changes}  # fmt: skip


def test_what_argilla_exports_is_read(tmp_path: Path) -> None:
    discarded = {"preference": [{"value": None, "user_id": "d2ff4b7e-5b4f-4a0b-9c5c-111111111111"}]}
    records = [record(item(1)), record(item(2), status="pending"), record(item(3), responses=discarded)]
    queue = queue_of(tmp_path, [item(number) for number in range(5)])
    assert accept(queue, READERS["argilla"](json.dumps(records)), None) == Taken(1, 0)
    lines = "".join(json.dumps(one) + "\n" for one in [*records, record(item(4))])
    assert accept(queue, READERS["argilla"](lines), None) == Taken(1, 1)
    assert len(queue.refresh().by("argilla-d2ff4b7e-5b4f-4a0b-9c5c-111111111111")) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fields": None}, "an object with `fields`"),
        ({"metadata": {}}, "others, or were changed"),
        ({"metadata": None}, "others, or were changed"),
        ({"responses": []}, "responses by question"),
        ({"responses": {"preference": {}}}, "responses by question"),
        ({"responses": {"preference": [3]}}, "responses that are objects"),
        ({"responses": {"preference": [{"value": "A", "user_id": "ann"}]}}, "a UUID as user_id"),
        ({"id": None}, "no item"),
    ],
)
def test_what_argilla_would_not_write_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match="record 1") as raised:
        accept(queue_of(tmp_path, [item(1)]), READERS["argilla"](json.dumps([record(item(1), **changes)])), None)
    assert message in str(raised.value)


@pytest.mark.parametrize("form", READERS)
@given(text=st.text() | JSON_VALUES.map(json.dumps))
def test_any_other_file_ends_in_one_sentence(tmp_path_factory: pytest.TempPathFactory, form: str, text: str) -> None:
    queue = Queue(tmp_path_factory.mktemp("queue"))
    with suppress(SpecError):
        assert accept(queue, READERS[form](text), None) == Taken(0, 0)
