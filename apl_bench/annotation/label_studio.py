"""Label Studio: tasks with its Pairwise tag, for its import page, and answers from its export as JSON.

Pairwise knows left and right alone, so a tie is a choice beside it; skipping is Label Studio's own Skip.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from xml.sax.saxutils import quoteattr

from apl_bench.annotation.items import Answer, Item
from apl_bench.annotation.labels import Label, expect, json_list
from apl_bench.annotation.queue import utc
from apl_bench.types import SpecError

CONTROL, TIE_CONTROL = "preference", "tie"
DOMAIN = "@annotators.invalid"  # an annotator's name as the address that Label Studio knows people by
_SIDES = {"A": "left", "B": "right"}
_TEXTS = ("question", "prompt", "first", "second")


def labelling_config(items: Sequence[Item]) -> str:
    """The project's labelling configuration (XML). Its words are ours alone; texts come with each task.

    `valueType="text"` keeps a completion that looks like an address from being fetched.
    """
    questions = sorted({item.question for item in items})
    header = f"<Header value={quoteattr(questions[0])}/>" if len(questions) == 1 else '<Header value="$question"/>'
    return f"""<View>
  {header}
  <Text name="prompt" value="$prompt" valueType="text"/>
  <Pairwise name="{CONTROL}" toName="first,second"/>
  <View style="display: grid; grid-template-columns: 1fr 1fr; column-gap: 1em">
    <Text name="first" value="$first" valueType="text"/>
    <Text name="second" value="$second" valueType="text"/>
  </View>
  <Choices name="{TIE_CONTROL}" toName="prompt" choice="single-radio">
    <Choice value="Tie" hotkey="t"/>
  </Choices>
</View>
"""


def to_tasks(items: Sequence[Item], answers: Sequence[Answer]) -> str:
    """A JSON list of tasks, with the answers as annotations."""
    by_item: dict[str, list[Answer]] = {}
    for answer in answers:
        by_item.setdefault(answer.item, []).append(answer)
    tasks: list[dict[str, Any]] = []
    for item in items:
        texts = {name: getattr(item, name) for name in _TEXTS}
        task: dict[str, Any] = {"data": {"item": item.id, "sha256": item.digest, **texts}}
        if item.id in by_item:
            task["annotations"] = [_annotation(answer) for answer in by_item[item.id]]
        tasks.append(task)
    return json.dumps(tasks, indent=1) + "\n"


def _annotation(answer: Answer) -> dict[str, Any]:
    result: list[dict[str, Any]] = []
    if answer.verdict in _SIDES:
        value: dict[str, Any] = {"selected": _SIDES[answer.verdict]}
        # Label Studio's editor names the control itself as what a Pairwise result belongs to.
        result = [{"from_name": CONTROL, "to_name": CONTROL, "type": "pairwise", "value": value}]
    elif answer.verdict == "T":
        value = {"choices": ["Tie"]}
        result = [{"from_name": TIE_CONTROL, "to_name": "prompt", "type": "choices", "value": value}]
    lead = None
    if answer.started is not None:
        spent = datetime.fromisoformat(answer.submitted) - datetime.fromisoformat(answer.started)
        lead = spent.total_seconds()
    return {
        "completed_by": {"email": answer.annotator + DOMAIN},
        "was_cancelled": answer.verdict == "S",
        "created_at": answer.submitted,
        "lead_time": lead,
        "result": result,
    }


def from_tasks(text: str) -> Iterator[Label]:
    """The answers in Label Studio's export (JSON, not JSON-MIN). Raises SpecError with the task's place."""
    for number, task in enumerate(json_list(text, "Label Studio's JSON"), start=1):
        place = f"task {number}"
        expect(isinstance(task, dict) and isinstance(task.get("data"), dict), place, "an object with `data`")
        annotations = task.get("annotations", [])
        expect(isinstance(annotations, list), place, "a list of annotations")
        for annotation in annotations:
            expect(isinstance(annotation, dict), place, "annotations that are objects")
            yield _label(place, task["data"], annotation)


def _label(place: str, data: Mapping[str, Any], annotation: Mapping[str, Any]) -> Label:
    shown = tuple(data.get(name) for name in _TEXTS)
    started, submitted = _times(place, annotation)
    who = _annotator(place, annotation.get("completed_by"))
    verdict = _verdict(place, annotation)
    return Label(place, data.get("item"), data.get("sha256"), shown, verdict, who, started, submitted)


def _verdict(place: str, annotation: Mapping[str, Any]) -> str:
    """A side, a tie, or a skip; Raises SpecError for none of them, or several."""
    if annotation.get("was_cancelled") is True:
        return "S"
    found = []
    results = annotation.get("result")
    for result in results if isinstance(results, list) else []:
        value = result.get("value") if isinstance(result, dict) else None
        expect(isinstance(value, dict), place, "results with a value")
        assert isinstance(value, dict)
        if result.get("type") == "pairwise" and result.get("from_name") == CONTROL:
            found += [verdict for verdict, side in _SIDES.items() if value.get("selected") == side]
        elif result.get("type") == "choices" and result.get("from_name") == TIE_CONTROL:
            found += ["T"] if value.get("choices") == ["Tie"] else []
    expect(len(found) == 1, place, f"one answer, left, right or Tie; there are {len(found)}")
    return str(found[0])


def _annotator(place: str, who: Any) -> str | None:
    """A name that came from us, or `label-studio-<id>`: addresses of people stay where they are."""
    if isinstance(who, dict):
        email = who.get("email")
        if isinstance(email, str) and email.endswith(DOMAIN):
            return email.removesuffix(DOMAIN)
        who = who.get("id")
    if who is None:
        return None
    expect(type(who) is int, place, "the number of the annotator in completed_by")
    return f"label-studio-{who}"


def _times(place: str, annotation: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """When the annotation was begun, as far as it is known, and when it was made."""
    created, lead = annotation.get("created_at"), annotation.get("lead_time")
    if created is None:
        return None, None
    try:
        moment = datetime.fromisoformat(created)
        submitted = utc(moment.timestamp())
        started = None if lead is None else utc((moment - timedelta(seconds=lead)).timestamp())
    except (TypeError, ValueError, OverflowError):
        raise SpecError(f"{place}: expected created_at as ISO 8601 and lead_time in seconds, not "
                        f"{str(created)[:80]!r} and {str(lead)[:80]!r}") from None  # fmt: skip
    return started, submitted
