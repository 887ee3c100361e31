"""The rows of a step or a waypoint as columns, and back; what a judge said follows from replies, and is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from apl_bench.judging import Judged
from apl_bench.leaderboard.packing.columns import (
    Vocabulary,
    pack_completions,
    pack_floats,
    unpack_completions,
    unpack_floats,
)
from apl_bench.records import judged_row, label_pairs
from apl_bench.replay import waypoint_pairs
from apl_bench.types import Pair

Row: TypeAlias = "dict[str, Any]"
Judge: TypeAlias = Callable[[Sequence[Pair]], Sequence[Judged]]

MAX_ROWS = 1_000_000


@dataclass(frozen=True)
class Tables:
    """What the runs of a submission share: prompts, each once, and tokens."""

    prompts: tuple[tuple[str, str], ...]  # id, text
    vocabulary: Vocabulary

    @cached_property
    def place(self) -> dict[tuple[str, str], int]:
        """Where each prompt stands."""
        return {prompt: place for place, prompt in enumerate(self.prompts)}

    def places(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Of the prompts of these rows."""
        return [self.place[row["prompt_id"], row["prompt"]] for row in rows]

    def named(self, places: Sequence[int]) -> list[Row]:
        """`prompt_id` and `prompt` of each. Raises ValueError for a place where there is none."""
        if len(places) > MAX_ROWS or not all(type(place) is int and 0 <= place < len(self.prompts) for place in places):
            raise ValueError("a column of prompts names one that is not in the table")
        return [dict(zip(("prompt_id", "prompt"), self.prompts[place], strict=True)) for place in places]


def pack_waypoint(rows: Sequence[Row], tables: Tables) -> Row:
    """The rows of a waypoint's file."""
    compared = [row for row in rows if row["kind"] == "comparison"]
    humans = [row for row in rows if row["kind"] == "human"]
    ids = [row["prompt_id"] for row in compared]
    return {
        "kind": "waypoint",
        "num_labels": rows[0]["num_labels"],
        "prompts": tables.places(compared),
        "policy": pack_completions([row["policy"] for row in compared], tables.vocabulary),
        "opponent": pack_completions([row["opponent"] for row in compared], tables.vocabulary),
        "policy_logp": pack_floats(row["policy_logp"] for row in compared),
        "reference_logp": pack_floats(row["reference_logp"] for row in compared),
        "humans": [ids.index(row["prompt_id"]) for row in humans],
        "human_tokens": [row["num_tokens"] for row in humans],
        "human_logp": pack_floats(row["logp"] for row in humans),
    }


def unpack_waypoint(packed: Row, tables: Tables, judge: Judge) -> list[Row]:
    """What `pack_waypoint` was given, with the verdicts that `judge` reads."""
    vocabulary = tables.vocabulary
    prompts, sides = tables.named(packed["prompts"]), ("policy", "opponent")
    policy, opponent = (unpack_completions(packed[side], vocabulary) for side in sides)
    logps = zip(unpack_floats(packed["policy_logp"]), unpack_floats(packed["reference_logp"]), strict=True)
    compared: list[Row] = [
        {
            "kind": "comparison",
            **prompt,
            "policy": ours,
            "opponent": theirs,
            "policy_logp": logp,
            "reference_logp": base,
        }
        for prompt, ours, theirs, (logp, base) in zip(prompts, policy, opponent, logps, strict=True)
    ]
    judged = judge(waypoint_pairs(compared))
    rows = [{**row, **judged_row(item)} for row, item in zip(compared, judged, strict=True)]
    columns = zip(packed["humans"], packed["human_tokens"], unpack_floats(packed["human_logp"]), strict=True)
    humans = [{"kind": "human", "prompt_id": prompts[place]["prompt_id"], "num_tokens": num, "logp": logp}
              for place, num, logp in columns]  # fmt: skip
    return [{"kind": "waypoint", "num_labels": packed["num_labels"]}, *rows, *humans]


def pack_step(rows: Sequence[Row], tables: Tables) -> Row:
    """The rows of a step's file."""
    candidates = [row for row in rows if row["kind"] == "candidate"]
    labels = [row for row in rows if row["kind"] == "label"]
    completions = [completion for row in candidates for completion in row["completions"]]
    return {
        "kind": "step",
        "head": rows[0],
        "prompts": tables.places(candidates),
        "num_completions": [len(row["completions"]) for row in candidates],
        "completions": pack_completions(completions, tables.vocabulary),
        "scored": [[[first, second] for first, second, _ in row["scores"]] for row in candidates],
        "scores": pack_floats(score for row in candidates for *_, score in row["scores"]),
        "labels": [[label[name] for label in labels] for name in ("row", "first", "second")],
        "margins": pack_floats(label["margin"] for label in labels),
    }


def unpack_step(packed: Row, tables: Tables, judge: Judge) -> list[Row]:
    """What `pack_step` was given, with the verdicts that `judge` reads."""
    completions = iter(unpack_completions(packed["completions"], tables.vocabulary))
    scores = iter(unpack_floats(packed["scores"]))
    prompts = tables.named(packed["prompts"])
    columns = zip(prompts, packed["num_completions"], packed["scored"], strict=True)
    candidates: list[Row] = [
        {"kind": "candidate", "row": number, **prompt, "completions": [next(completions) for _ in range(num)],
         "scores": [[first, second, next(scores)] for first, second in scored]}
        for number, (prompt, num, scored) in enumerate(columns)
    ]  # fmt: skip
    places = zip(*packed["labels"], unpack_floats(packed["margins"]), strict=True)
    labels: list[Row] = [
        {"kind": "label", "rank": rank, "row": row, "first": first, "second": second, "margin": margin}
        for rank, (row, first, second, margin) in enumerate(places)
    ]
    judged = judge(label_pairs([*candidates, *labels]))
    rows = [{**label, **judged_row(item)} for label, item in zip(labels, judged, strict=True)]
    if next(completions, None) is not None or next(scores, None) is not None:
        raise ValueError("a step has more completions or scores than its candidates")
    return [packed["head"], *candidates, *rows]
