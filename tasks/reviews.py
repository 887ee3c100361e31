"""Movie reviews: cleaning them, and dealing them out by a hash of their text.

Every shipped model and every split of the IMDB task goes through `share_of`, so that a text belongs to exactly one
share whatever file it came from: the classifiers' training thirds, the training prompts, and the held-out prompts.
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum

_BREAK = re.compile(r"<br\s*/?>")
_SPACE = re.compile(r"\s+")


class Share(Enum):
    """A range of the unit interval; a review belongs to the share that its text hashes into."""

    ORACLE = (0.0, 1 / 3)
    JUDGE = (1 / 3, 2 / 3)
    PROMPTS = (2 / 3, 0.9)
    HELD_OUT = (0.9, 1.0)


def clean(text: str) -> str:
    """The review with HTML line breaks and runs of white space turned into single spaces.

    Paper: takes the text as it is. The shipped policy and classifiers read plain text.
    """
    return _SPACE.sub(" ", _BREAK.sub(" ", text)).strip()


def share_of(text: str) -> Share:
    """The share that a cleaned review's text belongs to: the same on every machine and for every source."""
    digest = hashlib.sha256(text.encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    return next(share for share in Share if share.value[0] <= position < share.value[1])
