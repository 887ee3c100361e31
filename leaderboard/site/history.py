"""What happened to a submission: leaderboard/history.jsonl, one event a line, appended to and never edited.

    {"date": "2026-11-21", "id": "...", "event": "added", "why": "", "by": ""}

A badge that a person gives (`audited`, `re-run`) is an event, with its reason: no submission can give itself one.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from apl_bench.records import read_jsonl, to_json
from apl_bench.spec import nearest
from apl_bench.types import SpecError

EVENTS = {
    "added": "came to the leaderboard",
    "replaced": "was replaced by another submission",
    "retracted": "was retracted",
    "audited": "was audited: a maintainer asked the judge again about some verdicts",
    "re-run": "was re-run: a maintainer ran a part of it again",
}
ENDINGS = ("replaced", "retracted")
BADGES = ("audited", "re-run")


@dataclass(frozen=True)
class Event:
    """`by` is the submission that replaces this one, or who gave a badge; `why` is for readers."""

    date: str
    id: str
    event: str
    why: str = ""
    by: str = ""

    def __post_init__(self) -> None:
        if self.event not in EVENTS:
            raise nearest(self.event, "event", EVENTS)
        try:
            datetime.date.fromisoformat(self.date)
        except ValueError:
            raise SpecError(f"{self.date!r} is no date; expected one such as 2026-11-21") from None
        if self.event != "added" and not self.why.strip():
            raise SpecError(f"{self.id} {self.event}: expected a reason, which readers will see")
        if self.event in ("replaced", *BADGES) and not self.by.strip():
            who = "the submission that replaces it" if self.event == "replaced" else "who did that"
            raise SpecError(f"{self.id} {self.event}: expected {who}")


def read_history(path: Path) -> list[Event]:
    """The events in their order; none where there is no file. Raises SpecError with the line that is wrong."""
    events = []
    for number, row in enumerate(read_jsonl(path) if path.exists() else [], start=1):
        if set(row) - set(Event.__dataclass_fields__) or not all(isinstance(value, str) for value in row.values()):
            raise SpecError(f"{path}:{number}: expected texts called {', '.join(Event.__dataclass_fields__)}")
        try:
            events.append(Event(**row))
        except (SpecError, TypeError) as error:
            raise SpecError(f"{path}:{number}: {error}") from None
    return events


def append(path: Path, event: Event) -> None:
    """Write one more event down."""
    with path.open("a", encoding="utf-8") as file:
        file.write(to_json(asdict(event)) + "\n")


def require_known(events: Sequence[Event], submissions: Collection[str]) -> None:
    """Raise SpecError where an event names a submission that is not there."""
    for event in events:
        named = [event.id, *([event.by] if event.event == "replaced" else [])]
        for name in named:
            if name not in submissions:
                raise SpecError(
                    f"the history says that {event.id} was {event.event}, and there is no submission {name}"
                )
