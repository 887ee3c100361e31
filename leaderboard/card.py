"""The card of a submission: Markdown by its author, from a template, with headings that readers look for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files

HEADINGS = ("Method", "What was tried", "Costs", "Limits")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#* *$", re.MULTILINE)
_MARKUP = re.compile(r"[\\`*_{}\[\]<>#+!|&-]")


def template(name: str, strategies: Sequence[str], num_runs_tried: int) -> str:
    """A card to be filled in. Names are escaped: they are texts, and no markup."""
    text = files("apl_bench.leaderboard").joinpath("card.md").read_text(encoding="utf-8")
    listed = "\n".join(f"- {plain(strategy)}" for strategy in strategies)
    return text.format(name=plain(name), strategies=listed, num_runs_tried=num_runs_tried)


def missing_headings(card: str) -> list[str]:
    """Headings that a card has to have and lacks."""
    there = {heading.lower() for heading in _HEADING.findall(card)}
    return [heading for heading in HEADINGS if heading.lower() not in there]


def plain(text: str) -> str:
    """A text that Markdown shows as it is."""
    return _MARKUP.sub(lambda found: "\\" + found[0], text)
