"""What a summary is measured by: how much of the post it holds, how long, copied or unfinished it is.

Each measure is a plain number; `summary.py` says what each is worth.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from apl_bench.oracles.fluency import FUNCTION_WORDS
from apl_bench.oracles.words import tokenize

USUAL_CHARACTERS = 240  # the longest summaries that were judged have 242
USUAL_DISTINCT = 160  # characters in the distinct words of such a text
NUM_QUARTERS = 4

_MARKERS = re.compile(r"SUBREDDIT:|TITLE:|POST:|TL;?DR|<\|", re.IGNORECASE)
_END = re.compile(r"[.!?\u2026][)\"'\u201d\u2019\]*]*\Z")
_ASKS = re.compile(r"\?|\b(?:advice|advise|help|suggest\w*|thoughts|opinions?)\b", re.IGNORECASE)
_ENDINGS = (("'s", 3, ""), ("ing", 6, ""), ("ied", 5, "y"), ("ies", 5, "y"), ("ed", 5, ""), ("ly", 6, ""),
            ("ss", 3, "ss"), ("s", 4, ""))  # fmt: skip
_LAST_CHARACTERS = 400  # of a post: where people ask
_STOP = FUNCTION_WORDS | {"i", "us", "myself", "until", "while"}


@dataclass(frozen=True)
class Post:
    """A post as a reader of its prompt knows it."""

    title: str
    body: str

    @classmethod
    def read(cls, prompt: str) -> Post:
        """From `SUBREDDIT: r/... TITLE: ... POST: ... TL;DR:`; a prompt without `POST:` is a body and has no title."""
        head, mark, body = prompt.partition("POST:")
        if not mark:
            return cls("", prompt)
        return cls(head.partition("TITLE:")[2].strip(), body.rstrip().removesuffix("TL;DR:").strip())

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """What each stem of title and body is worth: log(1 + its number)."""
        return {stem: math.log1p(num) for stem, num in Counter(content(f"{self.title}\n{self.body}")).items()}

    @cached_property
    def quarters(self) -> tuple[frozenset[str], ...]:
        """The stems of each quarter of the body's content words."""
        stems = content(self.body)
        cuts = [place * len(stems) // NUM_QUARTERS for place in range(NUM_QUARTERS + 1)]
        return tuple(frozenset(stems[start:end]) for start, end in pairwise(cuts))

    @cached_property
    def title_stems(self) -> frozenset[str]:
        """The stems of the title."""
        return frozenset(content(self.title))

    @cached_property
    def words(self) -> str:
        """Its words in lower case, title first, one space around each: a run of words is copied if it is in here."""
        return f" {' '.join(lower_words(self.title))} | {' '.join(lower_words(self.body))} "

    @cached_property
    def asks(self) -> bool:
        """Whether its title or its end asks for something."""
        return bool(_ASKS.search(self.title) or _ASKS.search(self.body[-_LAST_CHARACTERS:]))


def stem(word: str) -> str:
    """A word without its usual endings: asked, asks, asking and ask are one. Crude, and the same on both sides."""
    for ending, least, instead in _ENDINGS:
        if len(word) >= least and word.endswith(ending):
            word = word[: -len(ending)] + instead
            break
    word = word[:-1] if len(word) > 4 and word.endswith("e") else word
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "sl" else word


def lower_words(text: str) -> list[str]:
    """Words and numbers in lower case, marks left out."""
    return [token.lower() for token in tokenize(text) if token[0].isalnum()]


def content(text: str) -> list[str]:
    """The stems of words that are no function words, in order."""
    return [stem(word) for word in lower_words(text) if word not in _STOP]


def length(text: str) -> float:
    """log(characters / USUAL_CHARACTERS), and from there on falling as fast as it rose: 0 at most, nats of length."""
    return -abs(math.log(max(len(text.strip()), 1) / USUAL_CHARACTERS))


def substance(text: str) -> float:
    """`length` of the distinct words alone: filling up with the same words adds nothing."""
    return -abs(math.log(max(sum(map(len, set(lower_words(text)))), 1) / USUAL_DISTINCT))


def recall(post: Post, text: str) -> float:
    """The share of the post's content, by weight, that the text names (ROUGE-1 recall on stems with counts damped)."""
    total = math.fsum(post.weights.values())
    return math.fsum(post.weights.get(stem, 0.0) for stem in sorted(set(content(text)))) / total if total else 0.0


def spread(post: Post, text: str) -> float:
    """How evenly it covers beginning, middle and end: the mean over quarters of sqrt(share of stems named)."""
    said = frozenset(content(text))
    shares = [len(said & quarter) / len(quarter) for quarter in post.quarters if quarter]
    return math.fsum(map(math.sqrt, shares)) / NUM_QUARTERS


def title_recall(post: Post, text: str) -> float:
    """The share of the title's stems that it names."""
    return len(post.title_stems & frozenset(content(text))) / max(len(post.title_stems), 1)


def support(post: Post, text: str) -> float:
    """The share of its content words that the post has (precision); 0 where it has none."""
    stems = content(text)
    return sum(stem in post.weights for stem in stems) / max(len(stems), 1)


def request_kept(post: Post, text: str) -> float:
    """1 where the post asks for something and the text does too, else 0."""
    return float(post.asks and _ASKS.search(text) is not None)


def longest_copy(post: Post, text: str) -> float:
    """How many words in a row it has from the title or the body, at most."""
    words, longest, start = lower_words(text), 0, 0
    for end in range(1, len(words) + 1):
        while f" {' '.join(words[start:end])} " not in post.words and start < end:
            start += 1
        longest = max(longest, end - start)
    return float(longest)


def num_markers(text: str) -> float:
    """How often the words of the prompt's frame, or a control token, stand in it."""
    return float(len(_MARKERS.findall(text)))


def unfinished(text: str) -> float:
    """1 where it ends in the middle: in no mark that ends a sentence."""
    return float(_END.search(text.rstrip()) is None)


def agreement(human: str, text: str) -> float:
    """F1 of content stems between the text and a person's summary (ROUGE-1 on stems), 0 to 1."""
    said, wanted = Counter(content(text)), Counter(content(human))
    both = (said & wanted).total()
    return 2 * both / max(said.total() + wanted.total(), 1)


def _alone(measure: Callable[[str], float]) -> Callable[[Post, str], float]:
    def measured(post: Post, text: str) -> float:
        del post
        return measure(text)

    return measured


MEASURES: Mapping[str, Callable[[Post, str], float]] = {
    "length": _alone(length),
    "substance": _alone(substance),
    "recall": recall,
    "spread": spread,
    "title": title_recall,
    "request": request_kept,
}
