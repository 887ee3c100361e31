"""The paper's IMDB task: go on from the opening of a movie review, with positive sentiment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar, Literal

from apl_bench.protocols import Split, Task, Tokenizer
from apl_bench.randomness import stream
from apl_bench.spec import require
from apl_bench.tasks.reviews import SOURCES, Row, Share, share_of
from apl_bench.tasks.sources import open_source
from apl_bench.types import JSON, LengthBounds, Prompt

NUM_CHARACTERS = 200  # reviews of as many or fewer are left out, counted with their markup
PROMPT_TOKENS = range(8, 17)
COMPLETION_TOKENS = range(16, 25)
NUM_HUMAN_TOKENS = 24
_HEAD_CHARACTERS = 300  # 40 tokens are kept of a review: encoding all of it would take several times as long
_LABELLED = (Share.ORACLE, Share.JUDGE)


@dataclass(frozen=True, slots=True)
class Cut:
    """The prompts of both splits for one tokenizer, sorted by id, and how many reviews gave none, by reason."""

    train: tuple[Prompt, ...]
    test: tuple[Prompt, ...]
    num_dropped: Mapping[str, int]


class Imdb(Task):
    """Prompts are the first 8-16 tokens of a review, completions have 16-24 (paper, sections 3-5 and table 1).

    `source` is `package`, `file` (with `path`, and `sha256` to check it by) or `hub` (with `revision`).
    `exclude_labelled` keeps the reviews that the shipped oracle and judge were trained on out of the training prompts.
    """

    summary: ClassVar[str] = "continue the opening of a movie review with positive sentiment"
    template: ClassVar[str] = "paper-sentiment-v1"
    opponent: ClassVar[Literal["reference", "human"]] = "reference"

    def __init__(
        self,
        source: str,
        exclude_labelled: bool,
        path: str | None = None,
        sha256: str | None = None,
        revision: str | None = None,
    ) -> None:
        require(type(exclude_labelled) is bool, "task.exclude_labelled", exclude_labelled, "true or false")
        self._source = open_source(source, {"path": path, "sha256": sha256, "revision": revision}, SOURCES)
        self._exclude_labelled = exclude_labelled
        self._last: tuple[Tokenizer, Cut] | None = None

    def prompts(self, split: Split, tokenizer: Tokenizer) -> Sequence[Prompt]:
        """The prompts of a split, sorted by id; no review and no prompt is in both splits."""
        require(split in ("train", "test"), "split", split, "train or test")
        cut = self.cut(tokenizer)
        return cut.train if split == "train" else cut.test

    def bounds(self, prompt: Prompt) -> LengthBounds:
        """At least 16 tokens; the most is uniform in 16-24, drawn from a stream of the prompt's id."""
        return LengthBounds(COMPLETION_TOKENS.start, _max_new_tokens(prompt.id))

    def identity(self) -> Mapping[str, JSON]:
        """The source with its checksum or revision, and whether labelled reviews are left out."""
        return {"dataset": "imdb", **self._source.identity(), "exclude_labelled": self._exclude_labelled}

    def cut(self, tokenizer: Tokenizer) -> Cut:
        """Both splits as this tokenizer cuts them; the last tokenizer's are remembered."""
        if self._last is None or self._last[0] is not tokenizer:
            self._last = (tokenizer, self._cut(tokenizer))
        return self._last[1]

    def _cut(self, tokenizer: Tokenizer) -> Cut:
        reviews = self._reviews
        all_train, all_test = openings(reviews.train, tokenizer), openings(reviews.test, tokenizer)
        every_train, test = _first_of_each_prompt(all_train), _first_of_each_prompt(all_test)
        held_out = {prompt.text for prompt in test}
        train = tuple(prompt for prompt in every_train if prompt.text not in held_out)
        dropped = {
            "no_round_trip": len(reviews.train) + len(reviews.test) - len(all_train) - len(all_test),
            "repeated_prompt": len(all_train) + len(all_test) - len(every_train) - len(test),
            "prompt_in_test": len(every_train) - len(train),
        }
        return Cut(train, test, {**reviews.num_dropped, **dropped})

    @cached_property
    def _reviews(self) -> _Reviews:
        return _deal(self._source.rows(), self._exclude_labelled)


@dataclass(frozen=True, slots=True)
class _Reviews:
    """Cleaned reviews by text id, sorted by it, disjoint; and how many rows were left out, by reason."""

    train: Mapping[str, str]
    test: Mapping[str, str]
    num_dropped: Mapping[str, int]


def _deal(rows: Sequence[Row], exclude_labelled: bool) -> _Reviews:
    """The reviews that are long enough, each once: in the test split if it is there, else in the training split."""
    long = [row for row in rows if row.num_characters > NUM_CHARACTERS]
    test = _by_id(row.text for row in long if row.split == "test")
    every_train = _by_id(row.text for row in long if row.split == "train")
    train = {key: text for key, text in every_train.items() if key not in test}
    used = {key for key, text in train.items() if exclude_labelled and share_of(text) in _LABELLED}
    dropped = {
        "short": len(rows) - len(long),
        "repeated_review": len(long) - len(test) - len(every_train),
        "review_in_test": len(every_train) - len(train),
        "labelled": len(used),
    }
    return _Reviews({key: text for key, text in train.items() if key not in used}, test, dropped)


def _by_id(texts: Iterable[str]) -> dict[str, str]:
    return dict(sorted((hashlib.sha256(text.encode()).hexdigest()[:12], text) for text in texts))


def openings(reviews: Mapping[str, str], tokenizer: Tokenizer) -> list[Prompt]:
    """A prompt for each review (text id -> cleaned text) that has one, in the order given."""
    prompts = (_opening(key, text, tokenizer) for key, text in reviews.items())
    return [prompt for prompt in prompts if prompt is not None]


def _opening(text_id: str, text: str, tokenizer: Tokenizer) -> Prompt | None:
    """The review's first n tokens and, as the human completion, its next 24.

    n is uniform in 8-16, drawn from a stream of the text id; where those tokens do not survive decoding and encoding,
    the nearest n that does is taken (the smaller of two); None where there is none.
    """
    ids = _first_tokens(text, tokenizer)
    drawn = int(stream("imdb-prompt-tokens", text_id).integers(PROMPT_TOKENS.start, PROMPT_TOKENS.stop))
    for num in sorted(PROMPT_TOKENS, key=lambda num: (abs(num - drawn), num)):
        prompt, whole = tokenizer.decode(ids[:num]), tokenizer.decode(ids[: num + NUM_HUMAN_TOKENS])
        if len(ids) > num and tokenizer.encode(prompt) == ids[:num] and whole.startswith(prompt):
            return Prompt(f"imdb-{text_id}", prompt, whole.removeprefix(prompt))
    return None


def _first_tokens(text: str, tokenizer: Tokenizer) -> list[int]:
    """The first tokens of a review, of a head that is long enough where it can be."""
    needed = PROMPT_TOKENS.stop + NUM_HUMAN_TOKENS
    ids = tokenizer.encode(text[:_HEAD_CHARACTERS])
    return ids[:needed] if len(ids) > needed else tokenizer.encode(text)[:needed]


def _first_of_each_prompt(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    first: dict[str, Prompt] = {}
    for prompt in prompts:
        first.setdefault(prompt.text, prompt)
    return tuple(first.values())


@cache
def _max_new_tokens(prompt_id: str) -> int:
    return int(stream("imdb-completion-tokens", prompt_id).integers(COMPLETION_TOKENS.start, COMPLETION_TOKENS.stop))
