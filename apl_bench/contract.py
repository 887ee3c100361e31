"""What a strategy's answer has to be: held by the runner before a label is bought, and by the conformance kit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from apl_bench.types import Acquisition, PairIndex


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: a code that stays the same, what was seen, and what to do about it."""

    code: str
    sentence: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Room:
    """What a strategy may choose from, and how much: prompts, completions of each (K), pairs to select (M)."""

    num_prompts: int
    num_completions: int
    num_pairs: int


def acquisition_faults(acquisition: Acquisition, room: Room) -> list[Finding]:
    """What is wrong with a selection; other faults are looked for only in values of the right types."""
    return _type_faults(acquisition) or [*_pair_faults(acquisition, room), *_score_faults(acquisition)]


def shortlist_faults(rows: Sequence[int], num_prompts: int, keep: int) -> list[Finding]:
    """What is wrong with the rows that were kept of `num_prompts` drawn ones."""
    valid = all(type(row) is int and 0 <= row < num_prompts for row in rows)
    if valid and len(rows) == len(set(rows)) == keep:
        return []
    seen = f"shortlist kept {len(set(rows))} different rows of {num_prompts} where {keep} were to be kept"
    return [Finding("shortlist", seen, "return exactly `keep` different rows of the prompts, as int")]


def _type_faults(acquisition: Acquisition) -> list[Finding]:
    pairs = (*acquisition.pairs, *acquisition.scored)
    wrong = [pair for pair in pairs if not isinstance(pair, PairIndex) or any(type(item) is not int for item in pair)]
    numbers = (*acquisition.scores, *acquisition.diagnostics.values())
    wrong_numbers = [number for number in numbers if type(number) is not float]
    if not wrong and not wrong_numbers:
        return []
    sentence = f"{(wrong or wrong_numbers)[0]!r} cannot be recorded as it is"
    remedy = "return PairIndex of int, scores and diagnostics of float: array.tolist() makes them"
    return [Finding("types", sentence, remedy)]


def _pair_faults(acquisition: Acquisition, room: Room) -> Iterator[Finding]:
    pairs, rows, columns = acquisition.pairs, room.num_prompts, room.num_completions
    outside = [p for p in pairs if not (0 <= p.prompt < rows and min(p[1:]) >= 0 and max(p[1:]) < columns)]
    same = [pair for pair in pairs if pair.first == pair.second]
    distinct = {(pair.prompt, *sorted(pair[1:])) for pair in pairs}
    if len(pairs) != room.num_pairs:
        seen = f"selected {len(pairs)} pairs where {room.num_pairs} labels of {rows} prompts were to be spent"
        yield Finding("budget", seen, "return exactly num_pairs pairs; selection.top does")
    if outside:
        seen = f"selected {outside[0]} in a pool of {rows} prompts x {columns} completions"
        yield Finding("range", seen, "count rows and columns from 0")
    if same:
        seen = f"selected {same[0]}: a completion paired with itself"
        yield Finding("self-pair", seen, "choose two different columns")
    if len(distinct) != len(pairs):
        seen = f"selected {len(pairs) - len(distinct)} pairs twice (first and second may have changed places)"
        yield Finding("duplicates", seen, "select without replacement; selection.top does")


def _score_faults(acquisition: Acquisition) -> Iterator[Finding]:
    scored, scores = acquisition.scored, acquisition.scores
    if len(scored) != len(scores):
        seen = f"{len(scores)} scores for {len(scored)} scored pairs"
        yield Finding("scores-length", seen, "give one score to each; selection.best does")
    bad = [number for number in (*scores, *acquisition.diagnostics.values()) if not math.isfinite(number)]
    if bad:
        seen = f"{len(bad)} scores or diagnostics are not finite, such as {bad[0]}"
        remedy = "look for a division by zero or a log of zero: at step 1 every margin is 0"
        yield Finding("scores-finite", seen, remedy)
