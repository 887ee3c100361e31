"""Phrases in a text that address whoever judges it. They are counted and never acted on: a text may hold one by chance,
and one that wants to steer a judge can do so in other words.
"""

from __future__ import annotations

import re
import unicodedata

_TEXT = "(?:text|option|answer|response|completion|continuation|review|summary|candidate)"
# A and B stand in capitals: "choose a film" is plain English.
PATTERNS = {
    "as-a-judge": r"\bas (?:a|an|the) (?:\w+ )?(?:judge|evaluator|grader|rater|annotator)\b",
    "dear-judge": r"\b(?:dear|attention|hey|hello|note to (?:the )?)[ ,:]*(?:judge|evaluator|grader|rater|annotator)\b",
    "verdict": r"\bpreferred\W{0,4}:\W{0,4}(?:(?-i:A|B)|tie)\b",
    "json-verdict": r"[\"'](?:preferred|verdict|winner)[\"']\s*:",
    "ignore-instructions": r"\b(?:ignore|disregard|forget)\b[^.!?\n]{0,30}"
    r"\b(?:previous|prior|above|earlier|preceding|these|your|all)\b[^.!?\n]{0,20}"
    r"\b(?:instructions?|prompts?|rules|criteria|directions)\b",
    "choose": rf"\b(?:choose|pick|select|prefer|vote for|output|answer|say)\W{{1,3}}(?:{_TEXT} )?[\"'(\[]?(?-i:A|B)"
    r"(?![\w'-])(?! +(?!as|because|since|and|over|instead|in|if|or|now|please|here|for|when|every)[a-z])",
    "is-better": rf"\b{_TEXT} (?-i:A|B) (?:is|wins|should|must)\b",
    "this-is-better": rf"\bthis (?:{_TEXT} )?(?:is|wins as|should be (?:chosen|preferred|rated) as) the "
    rf"(?:better|best|preferred|winning) {_TEXT}\b",
    "role-tokens": r"<\|[a-z_]{2,20}\|>|\[/?INST\]|<</?SYS>>",
    "system-prompt": r"\bsystem (?:prompt|message|instruction)s?\b",
}
_COMPILED = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in PATTERNS.items()}
_HIDDEN = {"Cc", "Cf", "Cs"}


def phrases_in(text: str) -> tuple[str, ...]:
    """Names of the patterns that the text holds, read as a judge is shown it: without hidden characters."""
    plain = text
    if not text.replace("\n", " ").replace("\t", " ").isprintable():
        plain = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in _HIDDEN)
    return tuple(name for name, pattern in _COMPILED.items() if pattern.search(plain))
