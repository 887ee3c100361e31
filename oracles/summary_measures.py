"""What a summary is measured by: how much of the post it holds, how long, copied, careless or unfinished it is.

Each measure is a plain number; `summary.py` says what each is worth.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from apl_bench.oracles.fluency import FUNCTION_WORDS
from apl_bench.oracles.words import tokenize

USUAL_CHARACTERS = 240  # the longest summaries that were judged have 242
USUAL_DISTINCT = 160  # characters in the distinct words of such a text
COPIED_RUN = 8  # words in a row that stand in the post too: one in twenty of people's summaries has such a run
PHRASE = 6  # words

_MARKERS = re.compile(r"SUBREDDIT:|TITLE:|POST:|TL;?DR|<\|", re.IGNORECASE)
_END = re.compile(r"[.!?\u2026][)\"'\u201d\u2019\]*]*\Z")
_CARELESS = re.compile(
    r"\A\W*[a-z]"  # begins small
    r"|\b(?:i|im|ive|id|dont|cant|didnt|doesnt|wont|isnt|wanna|gonna|u|ur|bc|cuz)\b"
    r"|\.\.\.|\u2026"
)
_ENDINGS = (("'s", 3, ""), ("ing", 6, ""), ("ied", 5, "y"), ("ies", 5, "y"), ("ed", 5, ""), ("ly", 6, ""),
            ("ss", 3, "ss"), ("s", 4, ""))  # fmt: skip
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
    def later(self) -> frozenset[str]:
        """The stems of the second half of the body's content words that the title has not."""
        stems = content(self.body)
        return frozenset(stems[len(stems) // 2 :]) - frozenset(content(self.title))

    @cached_property
    def words(self) -> str:
        """Its words in lower case, title first, one space around each: a run of words is copied if it is in here."""
        return f" {' '.join(lower_words(self.title))} | {' '.join(lower_words(self.body))} "


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


def later(post: Post, text: str) -> float:
    """sqrt of the share of the body's second half that it names, the title's stems left out.

    A summary that is the title and the first lines again has little of it; the turn and the question stand late.
    """
    return math.sqrt(len(post.later & frozenset(content(text))) / max(len(post.later), 1))


def support(post: Post, text: str) -> float:
    """The share of its content words that the post has (precision); 0 where it has none."""
    stems = content(text)
    return sum(stem in post.weights for stem in stems) / max(len(stems), 1)


def own_words(post: Post, text: str) -> float:
    """The share of its words outside runs of COPIED_RUN or more words that stand in the post; 0 where it has none."""
    words = lower_words(text)
    copied = [False] * len(words)
    for start, stands_there in enumerate(_runs_in(post, words, COPIED_RUN)):
        if stands_there:
            copied[start : start + COPIED_RUN] = [True] * COPIED_RUN
    return copied.count(False) / max(len(words), 1)


def own_phrases(post: Post, text: str) -> float:
    """The share of its runs of PHRASE words that do not stand in the post; 0 where it has none."""
    runs = _runs_in(post, lower_words(text), PHRASE)
    return runs.count(False) / max(len(runs), 1)


def _runs_in(post: Post, words: list[str], size: int) -> list[bool]:
    """Whether each run of `size` words stands in the post, in order of their starts."""
    return [f" {' '.join(words[start : start + size])} " in post.words for start in range(len(words) - size + 1)]


def care(text: str) -> float:
    """1 / (1 + its slips): a small letter at the beginning, "i" for I, apostrophes left out, chat words, dots for an
    end."""
    return 1 / (1 + len(_CARELESS.findall(text.strip())))


def longest_copy(post: Post, text: str) -> float:
    """How many words in a row it has from the title or the body, at most."""
    words, longest, start = lower_words(text), 0, 0
    for end in range(1, len(words) + 1):
        while f" {' '.join(words[start:end])} " not in post.words and start < end:
            start += 1
        longest = max(longest, end - start)
    return float(longest)


def listing(text: str) -> float:
    """The share of its words that are no function words: near 1 in a list of key words, a half in sentences."""
    return len(content(text)) / max(len(lower_words(text)), 1)


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
    "later": later,
    "own words": own_words,
    "own phrases": own_phrases,
    "care": _alone(care),
}
