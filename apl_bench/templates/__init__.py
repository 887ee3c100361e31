"""The words in which a judge is asked: versioned files, filled in a single pass.

A template is a TOML file of this folder. A change of its words takes a new name, because a result is comparable only
under the same words. Slots are written as the paper writes them: {{PROMPT}}, {{COMPLETION_A}} or {{COMPLETION-A}},
{{COMPLETION_B}} or {{COMPLETION-B}}, and {{FENCE}}, a code that no text shown beside it can have guessed. What is put
into a slot is never looked at again, so a completion that holds `{{COMPLETION_B}}` stays text.

Where a template has `{{PROMPT}} {{COMPLETION_A}}` the space stands for the join: the text shown is the prompt and its
completion exactly as they were generated, without a doubled space and without a word cut in two. A completion that
stands alone is shown without the white space around it, which comes from the same join and would tell a person's text
from a model's. From all three texts control and bidirectional characters are removed.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from apl_bench.spec import nearest
from apl_bench.types import JSON, Comparison

FENCE_SALT = b"candidate-fence/1"
LABELS = ("A", "B", "tie")

_SLOT = re.compile(
    r"\{\{PROMPT\}\} \{\{COMPLETION[-_](?P<joined>[AB])\}\}"
    r"|\{\{COMPLETION[-_](?P<alone>[AB])\}\}"
    r"|\{\{(?P<other>PROMPT|FENCE)\}\}"
)
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format (bidirectional ones too), surrogates, other line ends
_KEPT = "\n\t"


@dataclass(frozen=True, slots=True)
class Messages:
    """What a judge is sent: the rules, and the question with the texts in it."""

    system: str
    user: str


@dataclass(frozen=True, slots=True)
class Template:
    """The words of a question and what may be answered.

    `kind` is what the completions are: "sentiment" (they continue the prompt) or "summary" (they stand beside it).
    `labels` are the verdicts that it allows: "A", "B", and perhaps "tie". `reason` names what comes before the verdict.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    reason: str
    system: str
    user: str

    def render(self, comparison: Comparison) -> Messages:
        """The question about this comparison in its shown order: A is the text shown first."""
        prompt, first, second = map(visible, (comparison.pair.prompt.text, *comparison.shown))
        shown = {"A": first, "B": second}
        other = {"PROMPT": prompt, "FENCE": fence(prompt, first, second)}

        def fill(slot: re.Match[str]) -> str:
            if slot["joined"]:
                return prompt + shown[slot["joined"]]
            return shown[slot["alone"]].strip() if slot["alone"] else other[slot["other"]]

        return Messages(_SLOT.sub(fill, self.system), _SLOT.sub(fill, self.user))

    def schema(self) -> dict[str, JSON]:
        """The JSON schema of a structured reply: the reason first, because it is written in this order."""
        return {
            "type": "object",
            "properties": {
                self.reason: {"type": "string"},
                "preferred": {"type": "string", "enum": list(self.labels)},
            },
            "required": [self.reason, "preferred"],
            "additionalProperties": False,
        }


def names() -> list[str]:
    """The templates that there are, sorted."""
    entries = (entry.name for entry in files(__name__).iterdir())
    return sorted(name.removesuffix(".toml") for name in entries if name.endswith(".toml"))


@cache
def load(name: str) -> Template:
    """The template of this name. Raises SpecError with the nearest name where there is none."""
    if name not in names():
        raise nearest(name, "template", names())
    table: Mapping[str, str] = tomllib.loads((files(__name__) / f"{name}.toml").read_text(encoding="utf-8"))
    return Template(name, table["kind"], tuple(table["labels"]), table["reason"], table["system"], table["user"])


def visible(text: str) -> str:
    """The text without characters that steer or hide text: Unicode Cc (but newline and tab), Cf, Cs, Zl and Zp."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text  # str.isprintable refuses all of these and more
    return "".join(char for char in text if char in _KEPT or unicodedata.category(char) not in _HIDDEN)


def fence(*texts: str) -> str:
    """A code of 16 hexadecimal digits that stands in none of the texts and follows from them under a key.

    The same texts have the same code on every machine, since it is part of what the ledger's key is made of; the author
    of one text cannot know it without the others, nor write a text that holds its own.
    """
    for attempt in range(1 << 16):
        digest = hashlib.blake2b(digest_size=8, key=FENCE_SALT, salt=attempt.to_bytes(2, "big"))
        for text in texts:
            data = text.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
        code = digest.hexdigest()
        if not any(code in text for text in texts):
            return code
    raise AssertionError("65,536 codes of 64 bits stand in three texts")
