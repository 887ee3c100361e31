"""How text that others wrote is shown to an annotator: as it is, but nothing hidden and nothing that moves other text.

Control, bidirectional and other invisible characters become marks such as U+202E. Joiners inside emoji and between
letters that are not ASCII belong to the writing and stay.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn")
_JOINERS = "\u200c\u200d"


class Piece(NamedTuple):
    """Part of a text: as it was written, or a mark in the place of a character that cannot be seen."""

    text: str
    is_mark: bool


def pieces(text: str) -> list[Piece]:
    """The text in pieces, without the white space around it, which would tell a person's text from a model's."""
    text = text.strip().replace("\r\n", "\n")
    if not text:
        return [Piece("empty", True)]
    marked = list(_marked(text))
    return [
        piece
        for is_mark, group in groupby(marked, key=lambda piece: piece.is_mark)
        for piece in (group if is_mark else [Piece("".join(part.text for part in group), False)])
    ]


def _marked(text: str) -> Iterator[Piece]:
    for place, character in enumerate(text):
        is_hidden = character not in "\n\t" and unicodedata.category(character) in _HIDDEN
        if is_hidden and not (character in _JOINERS and _joins(text, place)):
            yield Piece(f"U+{ord(character):04X}", True)
        else:
            yield Piece(character, False)


def _joins(text: str, place: int) -> bool:
    """True where both neighbours are of a script or symbols that use joiners."""
    around = text[place - 1 : place] + text[place + 1 : place + 2]
    return len(around) == 2 and all(not one.isascii() and unicodedata.category(one)[0] in "LMS" for one in around)
