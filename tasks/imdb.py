"""The paper's IMDB task: go on from the opening of a movie review, with positive sentiment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import ClassVar, Literal, get_args

from apl_bench.protocols import Split, Task, Tokenizer
from apl_bench.randomness import stream
from apl_bench.spec import nearest, require
from apl_bench.tasks.reviews import Share, clean, share_of
from apl_bench.tasks.sources import HUB_REVISION, FileSource, HubSource, PackageSource, Source
from apl_bench.types import JSON, LengthBounds, Prompt, SpecError

MIN_CHARACTERS = 200  # a review has to be longer than this, markup included
PROMPT_TOKENS = (8, 16)
COMPLETION_TOKENS = (16, 24)
_HEAD_CHARACTERS = 300  # encoding whole reviews to keep 40 tokens of each would take ten times as long
_LABELLED = (Share.ORACLE, Share.JUDGE)


@dataclass(frozen=True, slots=True)
class Cut:
    """The prompts of both splits for one tokenizer, sorted by id, and how many reviews gave none, by reason."""

    train: tuple[Prompt, ...]
    test: tuple[Prompt, ...]
    num_dropped: Mapping[str, int]


class Imdb(Task):
    """Prompts are the first 8-16 tokens of a review, completions 16-24 tokens long (paper, section 4 and table 1).

    `source` is `package`, `file` (with `path`, and `sha256` to be checked if given) or `hub` (with `revision`).
    `exclude_labelled` leaves out training reviews that the shipped oracle and judge were trained on.
    """

    summary: ClassVar[str] = "continue the opening of a movie review with positive sentiment"
    template: ClassVar[str] = "paper-sentiment-v1"
    opponent: ClassVar[Literal["reference", "human"]] = "reference"

    def __init__(
        self,
        source: str,
        exclude_labelled: bool,
        path: str | None = None,
        revision: str | None = None,
        sha256: str | None = None,
    ) -> None:
        require(type(exclude_labelled) is bool, "task.exclude_labelled", exclude_labelled, "true or false")
        given = {"path": path, "revision": revision, "sha256": sha256}
        self._source = _open_source(source, {name: value for name, value in given.items() if value is not None})
        self._exclude_labelled = exclude_labelled
        self._last: tuple[Tokenizer, Cut] | None = None

    def prompts(self, split: Split, tokenizer: Tokenizer) -> Sequence[Prompt]:
        """The prompts of a split, sorted by id; no text and no prompt is in both."""
        require(split in get_args(Split), "split", split, "train or test")
        cut = self.cut(tokenizer)
        return cut.train if split == "train" else cut.test

    def bounds(self, prompt: Prompt) -> LengthBounds:
        """16 tokens at least; the most is uniform in 16-24, drawn from the stream of the prompt's id."""
        return LengthBounds(COMPLETION_TOKENS[0], _max_new_tokens(prompt.id))

    def identity(self) -> Mapping[str, JSON]:
        """The dataset's source with its checksum or revision, and whether labelled reviews were left out."""
        return {"dataset": "imdb", **self._source.identity(), "exclude_labelled": self._exclude_labelled}

    def cut(self, tokenizer: Tokenizer) -> Cut:
        """Both splits for this tokenizer, with the reviews that were left out counted; remembered for the last one."""
        if self._last is None or self._last[0] is not tokenizer:
            self._last = (tokenizer, self._cut(tokenizer))
        return self._last[1]

    def _cut(self, tokenizer: Tokenizer) -> Cut:
        test, dropped_test = _openings(self._reviews["test"], tokenizer)
        train, dropped_train = _openings(self._reviews["train"], tokenizer)
        held_out = {prompt.text for prompt in test}
        apart = tuple(prompt for prompt in train if prompt.text not in held_out)
        dropped = {reason: dropped_train[reason] + dropped_test[reason] for reason in dropped_train}
        return Cut(apart, test, {**self._num_dropped, **dropped, "prompt_in_test": len(train) - len(apart)})

    @cached_property
    def _rows(self) -> dict[Split, list[str]]:
        """The cleaned texts of each split that are long enough."""
        texts: dict[Split, list[str]] = {"train": [], "test": []}
        for row in self._all_rows:
            if len(row.raw) > MIN_CHARACTERS:
                texts[row.split].append(clean(row.raw))
        return texts
