"""The paper's TLDR task: summarise a forum post, against the summary that its author wrote; docs/adr/0007-tldr.md."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from apl_bench.protocols import Split, Task, Tokenizer
from apl_bench.spec import require
from apl_bench.tasks.posts import SOURCES, Post
from apl_bench.tasks.sources import open_source
from apl_bench.types import JSON, LengthBounds, Prompt

NUM_CHARACTERS = range(201, 1000)  # of the prompt as published, headings and its last space included
EXCLUDED = ("offmychest", "tifu")
BOUNDS = LengthBounds(1, 128)  # the EOS that ends a summary included; it may come at once, as in the release
_SPLITS = ("test", "train")


@dataclass(frozen=True, slots=True)
class Dealt:
    """The prompts of both splits, sorted by id; how many posts passed the paper's filters, by split; and how many posts
    gave no prompt, by reason.
    """

    train: tuple[Prompt, ...]
    test: tuple[Prompt, ...]
    num_passed: Mapping[str, int]
    num_dropped: Mapping[str, int]


class Tldr(Task):
    """Prompts are posts of 201-999 characters, completions have up to 128 tokens (paper, sections 3-5 and table 1).

    `source` is `sample`, `file` (with `path`, and `sha256` to check it by) or `hub` (with `revision`).
    """

    summary: ClassVar[str] = "summarise a forum post, against its author's own summary"
    template: ClassVar[str] = "paper-summary-v1"
    opponent: ClassVar[Literal["reference", "human"]] = "human"

    def __init__(
        self, source: str, path: str | None = None, sha256: str | None = None, revision: str | None = None
    ) -> None:
        self._source = open_source(source, {"path": path, "sha256": sha256, "revision": revision}, SOURCES)

    def prompts(self, split: Split, tokenizer: Tokenizer) -> Sequence[Prompt]:
        """The prompts of a split, sorted by id, the same for every tokenizer; no post is in both splits."""
        del tokenizer
        require(split in ("train", "test"), "split", split, "train or test")
        return self.dealt.train if split == "train" else self.dealt.test

    def bounds(self, prompt: Prompt) -> LengthBounds:
        """1 to 128 tokens."""
        del prompt
        return BOUNDS

    def identity(self) -> Mapping[str, JSON]:
        """The source with its checksum or revision."""
        return {"dataset": "tldr", **self._source.identity()}

    @cached_property
    def dealt(self) -> Dealt:
        """Both splits, and what was left out of them. Raises SpecError where the source is missing or broken."""
        return _deal(self._source.rows())


def _deal(posts: Sequence[Post]) -> Dealt:
    """The posts that the paper keeps, each once: in the test split if its body is there, else in the training split.

    Paper: uses both splits as they are.
    """
    reasons = [_reason(post) for post in posts]
    passed = [post for post, reason in zip(posts, reasons, strict=True) if reason is None]
    in_test, in_train = ([post for post in passed if post.split == split and post.summary] for split in _SPLITS)
    held_out = {post.body for post in in_test}
    own = [post for post in in_train if post.body not in held_out]
    test, train = _prompts(in_test), _prompts(own)
    dropped = {
        **{reason: reasons.count(reason) for reason in ("short", "long", "excluded_subreddit")},
        "no_summary": len(passed) - len(in_test) - len(in_train),
        "post_in_test": len(in_train) - len(own),
        "repeated_prompt": len(in_test) + len(own) - len(test) - len(train),
    }
    return Dealt(train, test, Counter(post.split for post in passed), dropped)


def _reason(post: Post) -> str | None:
    """Which of the paper's filters a post does not pass, None if it passes. Length is asked first."""
    num = len(post.prompt)
    if num not in NUM_CHARACTERS:
        return "short" if num < NUM_CHARACTERS.start else "long"
    return "excluded_subreddit" if post.subreddit.lower() in EXCLUDED else None


def _prompts(posts: Iterable[Post]) -> tuple[Prompt, ...]:
    """A prompt for each different text, sorted by id; of several summaries of a text the first in order stays."""
    first: dict[str, Prompt] = {}
    for prompt in sorted(map(_prompt, posts), key=lambda prompt: (prompt.id, prompt.human_completion)):
        first.setdefault(prompt.id, prompt)
    return tuple(first.values())


def _prompt(post: Post) -> Prompt:
    """The prompt ends in `TL;DR:`, and the space behind it begins the summary, as it would begin a model's."""
    text = post.prompt.rstrip(" ")
    return Prompt(f"tldr-{hashlib.sha256(text.encode()).hexdigest()[:12]}", text, f" {post.summary}")
