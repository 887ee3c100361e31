"""Single pairs for the browser of a report: which are shown, and what is shown of each.

Nobody picks them. A number of pairs is dealt out evenly to strategies, and for each strategy to its steps (labels) and
waypoints (test comparisons); within one of these, over all seeds, come first the pairs with the smallest sha256 of the
run's identity, the kind, the step or waypoint, and the row. The same runs give the same pairs everywhere.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from apl_bench.annotation.showing import Piece, pieces
from apl_bench.judgments.record import Record
from apl_bench.objective import preference_probability
from apl_bench.records import Run, label_pairs
from apl_bench.types import JSON, SpecError

LABEL, TEST = "label", "test"
MAX_LETTERS = 6000  # of a text that is shown; the rest is counted


class Stratum(NamedTuple):
    """Where pairs come from: a strategy, `label` or `test`, and the step or the number of labels."""

    strategy: str
    part: str
    at: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A pair as it is shown. `first` and `second` are A and B; at a waypoint A is the policy's and B the opponent's.

    `verdict` is in this order, `swapped` says that B was shown first. `p_first`: probability of A by the oracle or
    judge, where it gives one; `p_policy`: by the implicit preference before the label was bought. `replies`: raw.
    """

    stratum: Stratum
    seed: int
    order: str
    prompt: str
    first: str
    second: str
    verdict: str
    swapped: bool
    p_first: float | None
    p_policy: float | None
    replies: tuple[str, ...]


def shares(strata: Iterable[Stratum], num_pairs: int) -> dict[Stratum, int]:
    """How many pairs each stratum may show: equally many, what is left over going by the stratum's own hash."""
    found = list(dict.fromkeys(strata))
    each, left = divmod(num_pairs, len(found)) if found else (0, 0)
    first = set(sorted(found, key=lambda stratum: _hash(*stratum))[:left])
    return {stratum: each + (stratum in first) for stratum in found}


def strata_of(strategy: str, run: Run) -> Iterator[Stratum]:
    """The strata to which a run has pairs."""
    yield from (Stratum(strategy, LABEL, step) for step in range(1, run.spec.loop.num_steps + 1))
    yield from (Stratum(strategy, TEST, num) for num in run.spec.loop.waypoints)


def shown_of(run: Run, strategy: str, share: Mapping[Stratum, int], records: Mapping[str, Record]) -> Iterator[Shown]:
    """The pairs of a run that may be shown, as far as their hashes go: each stratum's share at most.

    Raises SpecError for a judgment that the rows name and the run lacks.
    """
    for stratum in strata_of(strategy, run):
        rows = run.all_step_rows(stratum.at) if stratum.part == LABEL else run.all_waypoint_rows(stratum.at)
        kind = "label" if stratum.part == LABEL else "comparison"
        judged = [row for row in rows if row["kind"] == kind]
        orders = [(_hash(run.spec.identity, stratum.part, stratum.at, place), place) for place in range(len(judged))]
        chosen = heapq.nsmallest(share[stratum], orders)
        pairs = label_pairs(rows) if stratum.part == LABEL and chosen else []
        for order, place in chosen:
            row = judged[place]
            texts = (
                (pairs[place].prompt.text, pairs[place].first.text, pairs[place].second.text)
                if stratum.part == LABEL
                else (row["prompt"], row["policy"]["text"], row["opponent"]["text"])
            )
            yield _shown(stratum, run, order, texts, row, records)


def merged(found: Iterable[Shown], share: Mapping[Stratum, int]) -> list[Shown]:
    """Of all seeds' pairs those that are shown, dealt out round by round: the first of each stratum, the second, ..."""
    by_stratum: dict[Stratum, list[Shown]] = {stratum: [] for stratum in share}
    for pair in found:
        by_stratum[pair.stratum].append(pair)
    rounds = [
        (place, number, pair)
        for number, (stratum, pairs) in enumerate(by_stratum.items())
        for place, pair in enumerate(sorted(pairs, key=lambda pair: pair.order)[: share[stratum]])
    ]
    return [pair for _, _, pair in sorted(rounds, key=lambda item: item[:2])]


def _shown(
    stratum: Stratum,
    run: Run,
    order: str,
    texts: tuple[str, str, str],
    row: Mapping[str, Any],
    records: Mapping[str, Record],
) -> Shown:
    missing = [key for key in row["keys"] if key not in records]
    if missing:
        raise SpecError(f"{run.path}/judgments.jsonl lacks the judgment with key {missing[0]}, which a row names; "
                        "restore the file, or run it again")  # fmt: skip
    replies = tuple(records[key].reply.raw for key in row["keys"])
    p_policy = float(preference_probability(row["margin"], 0.0)) if stratum.part == LABEL else None
    p_first = row.get("p_first")
    return Shown(
        stratum,
        run.spec.seed,
        order,
        *texts,
        verdict=row["verdict"],
        swapped=row["swapped"],
        p_first=p_first,
        p_policy=p_policy,
        replies=replies,
    )


def _hash(*parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()


def cut(text: str) -> list[Piece]:
    """A text in pieces, nothing hidden in it; a very long one cut, with a mark that says how much is left out."""
    left_out = len(text) - MAX_LETTERS
    return [*pieces(text[:MAX_LETTERS]), *([Piece(f"{left_out} more characters", True)] if left_out > 0 else [])]


def marked(text: str) -> JSON:
    """A text for the page's script: as it is, or where something is hidden in it a list that alternates between text
    and marks such as U+202E, beginning with text."""
    found = cut(text)
    alternating = [""]
    for piece in found:
        if piece.is_mark:
            alternating += [piece.text, ""]
        else:
            alternating[-1] += piece.text
    return list(alternating) if len(alternating) > 1 else alternating[0]
