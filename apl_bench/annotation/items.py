"""What people are shown and what they answer: frozen values, and the state of a queue that events add up to.

An item is a question, a prompt and two texts in the order shown. Nothing in it says which policy, strategy or step it
comes from. Items of the kinds `repeat` and `swap` are shown to somebody who has answered their original, who is not
told: they measure the annotator and never become labels.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import rfc8785

from apl_bench.types import JSON

VERDICTS = "ABTS"  # the first is better, the second is better, tie, skip
KINDS = ("label", "repeat", "swap")
SWAPPED = {"A": "B", "B": "A"}


@dataclass(frozen=True, slots=True)
class Item:
    """A pair to be judged, as shown. `original` is its own id, or that of the item that this one repeats or swaps.

    An item is decided by the first answer, or where `votes` (odd) is above 1 by the majority of so many.
    """

    id: str
    kind: str
    original: str
    question: str
    prompt: str
    first: str
    second: str
    votes: int

    @property
    def digest(self) -> str:
        """sha256 of all that is shown: what an answer from elsewhere has to agree with."""
        shown = {"question": self.question, "prompt": self.prompt, "first": self.first, "second": self.second}
        return hashlib.sha256(rfc8785.dumps(shown)).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one annotator said of one item, in shown order; times are UTC, ISO 8601.

    `sequence` numbers the answers of a queue in the order in which they were written down.
    """

    item: str
    verdict: str
    annotator: str
    started: str | None
    submitted: str
    ui_version: str
    sequence: int


def item_id(kind: str, request: Mapping[str, JSON]) -> str:
    """An id that says nothing to a reader: the same request has the same one, in any run."""
    content: dict[str, JSON] = {"kind": kind, "request": dict(request)}
    return hashlib.sha256(rfc8785.dumps(content)).hexdigest()[:32]


def majority(verdicts: Sequence[str], votes: int) -> str | None:
    """The verdict of more than half of `votes` voters, T if all have voted without one, None before that.

    A vote is of one of VERDICTS. People who disagree make a tie, as both orders of a judge do; `verdicts` keeps how.
    """
    verdict, num = Counter(verdicts).most_common(1)[0] if verdicts else ("", 0)
    if num > votes / 2:
        return verdict
    return "T" if len(verdicts) >= votes else None


@dataclass
class State:
    """What a queue's events add up to. `answers[item]` are those not taken back, in the order of their sequence."""

    items: dict[str, Item] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    checks: dict[str, list[Item]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    last_sequence: int = 0

    def add(self, item: Item) -> None:
        """Know one more item; one that is known stays as it is."""
        if item.id in self.items:
            return
        self.items[item.id] = item
        self.answers.setdefault(item.id, [])
        if item.kind != "label":
            self.checks.setdefault(item.original, []).append(item)

    def record(self, answer: Answer) -> None:
        """Count an answer; files are read one after the other, so it may belong before others."""
        answers = self.answers.setdefault(answer.item, [])
        answers.append(answer)
        answers.sort(key=lambda one: one.sequence)
        self.last_sequence = max(self.last_sequence, answer.sequence)

    def retract(self, item: str, annotator: str, sequence: int) -> None:
        """Forget an annotator's answers to an item that were written before `sequence`."""
        kept = [one for one in self.answers.get(item, []) if one.annotator != annotator or one.sequence > sequence]
        self.answers[item] = kept
        self.last_sequence = max(self.last_sequence, sequence)

    def of(self, item: str, annotator: str) -> Answer | None:
        """What this annotator said of an item."""
        return next((answer for answer in self.answers.get(item, []) if answer.annotator == annotator), None)

    def by(self, annotator: str) -> list[Answer]:
        """All that an annotator said, in order."""
        own = (answer for answers in self.answers.values() for answer in answers if answer.annotator == annotator)
        return sorted(own, key=lambda answer: answer.sequence)

    def deciding(self, item: Item) -> list[Answer]:
        """The answers that make the item's label, empty as long as it has none; later ones never change it."""
        answers = self.answers.get(item.id, [])
        for num in range(1, len(answers) + 1):
            if majority([answer.verdict for answer in answers[:num]], item.votes) is not None:
                return answers[:num]
        return []

    def labels(self) -> list[Item]:
        """The items whose answers become labels."""
        return [item for item in self.items.values() if item.kind == "label"]

    def undecided(self) -> list[Item]:
        """The items that still want a label."""
        return [item for item in self.labels() if not self.deciding(item)]

    def open_items(self) -> list[Item]:
        """The items that still want a label, each with its hidden checks."""
        return [one for item in self.undecided() for one in (item, *self.checks.get(item.id, []))]

    def annotators(self) -> list[str]:
        """Everybody who has answered."""
        return sorted({answer.annotator for answers in self.answers.values() for answer in answers})
