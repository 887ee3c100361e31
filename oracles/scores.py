"""Replies of oracles that score each text by itself: canonical JSON with both scores, read back as strictly as any
judge's reply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import rfc8785

from apl_bench.types import JSON, Comparison, Reading, Reply, Verdict

DIGITS = 6  # of a recorded score; verdicts are read from the recorded digits
MAX_SCORE = 1e9  # a recorded score beyond it is not ours


@dataclass(frozen=True, slots=True)
class Scored:
    """A text's score as it is recorded, None where it has none, and the pieces that explain it."""

    total: float | None
    pieces: Mapping[str, JSON]


def shown_texts(comparison: Comparison) -> dict[str, JSON]:
    """The part of a local oracle's request that every one has: the texts as shown, and the repeat."""
    first, second = comparison.shown
    return {
        "prompt": comparison.pair.prompt.text,
        "first": first,
        "second": second,
        "repeat": comparison.repeat,
    }


def reply(model: str, first: Scored, second: Scored) -> Reply:
    """Both scores with their pieces, in the order shown, as canonical JSON (RFC 8785)."""
    return Reply(raw=rfc8785.dumps(answer_of(first, second)).decode(), model=model)


def answer_of(first: Scored, second: Scored) -> dict[str, JSON]:
    """The object that a reply is."""
    return {
        "score_first": first.total,
        "score_second": second.total,
        "first": dict(first.pieces),
        "second": dict(second.pieces),
    }


def read_scores(answered: Reply) -> tuple[float, float] | None:
    """(score_first, score_second), or None where the reply is not one JSON object with both as usable numbers."""
    answer = read_object(answered)
    first, second = (usable(answer.get(name), MAX_SCORE) for name in ("score_first", "score_second"))
    return None if first is None or second is None else (first, second)


def read_margin(answered: Reply) -> Reading:
    """The higher score wins; p_first = sigmoid(score_first - score_second). Anything but two scores is INVALID."""
    scores = read_scores(answered)
    if scores is None:
        return Reading(Verdict.INVALID)
    return Reading(higher(*scores), sigmoid(scores[0] - scores[1]))


def read_object(answered: Reply) -> dict[str, object]:
    """The JSON object that the reply is, without anything around it; empty where it is none or names a field twice."""
    if answered.outcome != "ok":
        return {}
    try:
        answer = json.loads(answered.raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def usable(value: object, largest: float) -> float | None:
    """The value where it is a number of a size that it can have; True and NaN are none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if -largest <= value <= largest else None


def higher(first: float, second: float) -> Verdict:
    """The verdict of two scores: the higher one wins, equal ones are a tie."""
    return Verdict.FIRST if first > second else Verdict.SECOND if first < second else Verdict.TIE


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), rounded so that every machine gives the same digits."""
    return round(float(np.exp(-np.logaddexp(0.0, -value))), DIGITS)


def _unique(items: list[tuple[str, object]]) -> dict[str, object]:
    """The object, unless a name stands in it twice: then it has no one meaning."""
    if len(dict(items)) != len(items):
        raise ValueError("a name stands twice")
    return dict(items)
