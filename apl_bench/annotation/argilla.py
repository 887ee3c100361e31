"""Argilla 2: records as `dataset.records.to_json` and `from_json` have them, a JSON list of objects.

Argilla writes who answered as the UUID of a user, and neither times nor the status of an answer; so only records whose
status is `completed` are read, in which no draft can be.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from apl_bench.annotation.items import Answer, Item
from apl_bench.annotation.labels import Label, expect, json_list

QUESTION = "preference"
_TEXTS = ("question", "prompt", "first", "second")
_NAMESPACE = uuid.UUID("5d5b7a0c-6b0e-5c58-9a55-3f0a3f2f6a10")


def to_records(items: Sequence[Item], answers: Sequence[Answer]) -> str:
    """A JSON list of records, with the answers as responses; an annotator is `user_id(name)`."""
    by_item: dict[str, list[Answer]] = {}
    for answer in answers:
        by_item.setdefault(answer.item, []).append(answer)
    records = [
        {
            "id": item.id,
            "fields": {name: getattr(item, name) for name in _TEXTS},
            "metadata": {"sha256": item.digest},
            "suggestions": {},
            "responses": _responses(by_item.get(item.id, [])),
            "vectors": {},
            "status": "completed" if item.id in by_item else "pending",
        }
        for item in items
    ]
    return json.dumps(records, indent=1) + "\n"


def user_id(annotator: str) -> str:
    """The UUID that stands for an annotator of ours, the same everywhere."""
    return str(uuid.uuid5(_NAMESPACE, annotator))


def _responses(answers: Sequence[Answer]) -> dict[str, list[dict[str, str]]]:
    given = [{"value": answer.verdict, "user_id": user_id(answer.annotator)} for answer in answers]
    return {QUESTION: given} if given else {}


def from_records(text: str) -> Iterator[Label]:
    """The answers in completed records. Raises SpecError with the record's place."""
    for number, record in enumerate(json_list(text, "Argilla's JSON"), start=1):
        place = f"record {number}"
        expect(isinstance(record, dict) and isinstance(record.get("fields"), dict), place, "an object with `fields`")
        if record.get("status") != "completed":
            continue
        metadata = record.get("metadata")
        sha256 = metadata.get("sha256") if isinstance(metadata, dict) else None
        shown = tuple(record["fields"].get(name) for name in _TEXTS)
        for value, user in _given(place, record.get("responses")):
            yield Label(place, record.get("id"), sha256, shown, value, f"argilla-{user}", None, None)


def _given(place: str, responses: Any) -> Iterator[tuple[Any, str]]:
    """Value and user of each response to our question; discarded ones have no value, and are none."""
    given = responses.get(QUESTION, []) if isinstance(responses, dict) else None
    expect(isinstance(given, list), place, f"responses by question, such as {QUESTION!r}")
    assert isinstance(given, list)
    for response in given:
        expect(isinstance(response, dict), place, "responses that are objects")
        if response.get("value") is None:
            continue
        try:
            user = str(uuid.UUID(str(response.get("user_id"))))
        except ValueError:
            expect(False, place, f"a UUID as user_id, not {str(response.get('user_id'))[:80]!r}")
            raise
        yield response["value"], user
