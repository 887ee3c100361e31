"""People as oracle or judge: what is asked goes into a queue, and what they have answered comes out of it.

A run never waits: it puts all that it wants to know into the queue, takes the answers that are there, and stops as
*awaiting labels*. `apl-bench annotate` is how people answer; the same run command then goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import rfc8785

from apl_bench.annotation.items import VERDICTS, Answer, Item, item_id, majority
from apl_bench.annotation.queue import Queue, checked_name
from apl_bench.failures import AwaitingLabels
from apl_bench.protocols import DeferredOracle, Task
from apl_bench.randomness import unit_interval
from apl_bench.spec import nearest, require
from apl_bench.types import JSON, Comparison, Reading, Reply, Verdict

# A change of words is another question: it takes a new name, and every ledger key changes with it.
TEMPLATES: Mapping[str, str] = {
    "people-sentiment-v1": "Which continuation of the movie review is better? Prefer the more positive one, as long as "
    "it is grammatical, makes sense and does not repeat itself.",
    "people-summary-v1": "Which summary of the post is better? Prefer the one that says what matters most, adds "
    "nothing that is not in the post, and is short and clear.",
    "people-general-v1": "Which of the two texts is the better response to the prompt?",
}
MAX_VOTES = 25
REPEATS = SWAPS = 0.05
REPEAT_SALT, SWAP_SALT = "human-repeat/1", "human-swap/1"
_READ = {"A": Verdict.FIRST, "B": Verdict.SECOND, "T": Verdict.TIE, "S": Verdict.INVALID}
_FIELDS = {"verdict", "annotator", "started", "submitted", "ui_version"}


class Human(DeferredOracle):
    """`queue` names the folder that people answer from, `template` the question that they see.

    The shares `repeats` and `swaps` of all items are shown once more, unchanged or in the other order, to somebody who
    has answered them: these answers measure the annotator and are never labels. The first answer is the label, or with
    `votes` above 1 (odd) the majority of so many people; where they disagree without one it is a tie.
    """

    summary: ClassVar[str] = "people, through a page or a terminal: apl-bench annotate"

    def __init__(
        self, queue: str, template: str, repeats: float = REPEATS, swaps: float = SWAPS, votes: int = 1
    ) -> None:
        if template not in TEMPLATES:
            raise nearest(str(template), "template for people", TEMPLATES)
        for name, share in (("repeats", repeats), ("swaps", swaps)):
            is_number = isinstance(share, int | float) and not isinstance(share, bool)
            require(is_number and 0 <= share <= 1, name, share, "a share from 0 to 1")
        odd = type(votes) is int and votes % 2 == 1 and 1 <= votes <= MAX_VOTES
        require(odd, "votes", votes, f"an odd number from 1 to {MAX_VOTES}")
        self._queue = checked_name(queue, "the queue")
        self._question = TEMPLATES[template]
        self._template = template
        self._repeats, self._swaps, self._votes = float(repeats), float(swaps), votes

    @classmethod
    def defaults(cls, part: str, task: type[Task]) -> Mapping[str, JSON]:
        """The question for people that belongs to the task's template; the first answer counts, 5 % are checks."""
        del part
        kind = "sentiment" if "sentiment" in task.template else "summary" if "summary" in task.template else "general"
        return {"template": f"people-{kind}-v1", "repeats": REPEATS, "swaps": SWAPS, "votes": 1}

    def identity(self) -> Mapping[str, JSON]:
        """The question, how many people answer it, and how they are checked."""
        return {
            "template": self._template,
            "question": self._question,
            "votes": self._votes,
            "repeats": self._repeats,
            "swaps": self._swaps,
        }

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        """Which people (by their queue), the question, how many votes, and the texts as shown."""
        first, second = comparison.shown
        return {
            "provider": "human",
            "queue": self._queue,
            "question": self._question,
            "votes": self._votes,
            "prompt": comparison.pair.prompt.text,
            "first": first,
            "second": second,
            "repeat": comparison.repeat,
        }

    def answers(self, comparisons: Sequence[Comparison]) -> Iterator[tuple[int, Reply]]:
        """Put all of them into the queue, and give what has been answered. Raises AwaitingLabels for the rest."""
        queue = Queue.named(self._queue)
        requests = [self.request(comparison) for comparison in comparisons]
        ids = [item_id("label", request) for request in requests]
        queue.enqueue([item for request in requests for item in self._items(request)])
        decided = queue.take(ids)
        for position, name in enumerate(ids):
            if name in decided:
                yield position, _reply(decided[name], self._votes)
        if len(decided) < len(set(ids)):
            raise AwaitingLabels(len(set(ids)) - len(decided), self._how())

    def read(self, reply: Reply) -> Reading:
        """The verdict of the one who answered, or of the majority. Whoever skipped gave none: INVALID."""
        verdicts = _verdicts(reply.raw)
        if not verdicts or reply.outcome not in ("ok", "refused"):
            return Reading(Verdict.INVALID)
        found = majority(verdicts, len(verdicts)) or "S"
        return Reading(_READ[found])

    def _items(self, request: Mapping[str, JSON]) -> Iterator[Item]:
        """The item of a request, and by a hash of it for some a hidden repeat, for some a hidden swap."""
        original = item_id("label", request)
        shown = {name: str(request[name]) for name in ("question", "prompt", "first", "second")}
        yield Item(original, "label", original, **shown, votes=self._votes)
        if unit_interval(REPEAT_SALT, original) < self._repeats:
            yield Item(item_id("repeat", request), "repeat", original, **shown, votes=1)
        if unit_interval(SWAP_SALT, original) < self._swaps:
            swapped = {**shown, "first": shown["second"], "second": shown["first"]}
            yield Item(item_id("swap", request), "swap", original, **swapped, votes=1)

    def _how(self) -> str:
        return (f"Give them with: apl-bench annotate page {self._queue} (in a terminal: apl-bench annotate terminal "
                f"{self._queue}). Then run the same command again: it goes on from here")  # fmt: skip


def _reply(answers: Sequence[Answer], votes: int) -> Reply:
    """What people said, as canonical JSON: the one answer, or all votes."""
    tables: list[dict[str, JSON]] = [
        {
            "verdict": answer.verdict,
            "annotator": answer.annotator,
            "started": answer.started,
            "submitted": answer.submitted,
            "ui_version": answer.ui_version,
        }
        for answer in answers
    ]
    raw = rfc8785.dumps(tables[0] if votes == 1 else {"votes": tables})
    refused = majority([answer.verdict for answer in answers], votes) == "S"
    outcome = "refused" if refused else "ok"
    return Reply(raw.decode(), "human", outcome, response_id=answers[0].item, latency_s=_seconds(answers))


def _seconds(answers: Sequence[Answer]) -> float | None:
    """How long people took together; None where somebody's start is not known."""
    if any(answer.started is None for answer in answers):
        return None
    spans = [datetime.fromisoformat(one.submitted) - datetime.fromisoformat(str(one.started)) for one in answers]
    return max(0.0, round(sum(span.total_seconds() for span in spans), 3))


def _verdicts(raw: str) -> list[str]:
    """The votes in a reply; none where it is not one that `_reply` writes."""
    try:
        table: Any = json.loads(raw)
        if rfc8785.dumps(table).decode() != raw:  # a name that stands twice has no one meaning
            return []
    except (ValueError, RecursionError):
        return []
    votes = table.get("votes") if isinstance(table, dict) and table.keys() == {"votes"} else [table]
    if not isinstance(votes, list) or not all(isinstance(vote, dict) and vote.keys() == _FIELDS for vote in votes):
        return []
    verdicts = [vote["verdict"] for vote in votes]
    return verdicts if all(verdict in tuple(VERDICTS) for verdict in verdicts) else []
