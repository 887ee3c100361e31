"""Single pairs in words: a few for the page itself, all that are shown for its script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from apl_bench.annotation.showing import Piece
from apl_bench.report.formats import visible
from apl_bench.report.pairs import LABEL, TEST, Shown, Stratum, cut, marked
from apl_bench.types import JSON

NUM_WITHOUT_SCRIPT = 12
ASKED = {LABEL: "oracle", TEST: "judge"}
WORDS = {
    LABEL: {"first": "A preferred", "second": "B preferred", "tie": "Tie", "invalid": "Could not be read"},
    TEST: {"first": "A preferred: the policy wins", "second": "B preferred: the policy loses", "tie": "Tie",
             "invalid": "Could not be read"},
}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """A pair for the page without scripts."""

    pair: Shown

    @property
    def where(self) -> str:
        return where(self.pair.stratum)

    @property
    def words(self) -> str:
        return WORDS[self.pair.stratum.part][self.pair.verdict]

    @property
    def remarks(self) -> str:
        return remarks(self.pair)

    @property
    def prompt(self) -> Sequence[Piece]:
        return cut(self.pair.prompt)

    @property
    def first(self) -> Sequence[Piece]:
        return cut(self.pair.first)

    @property
    def second(self) -> Sequence[Piece]:
        return cut(self.pair.second)

    @property
    def replies(self) -> Sequence[Sequence[Piece]]:
        return [cut(reply) for reply in self.pair.replies]


def cards(pairs: Sequence[Shown]) -> list[Card]:
    """A readable selection: of each strategy the first pair of its last step and of its last waypoint, and no more than
    a few in all."""
    latest: dict[tuple[str, str], Shown] = {}
    for pair in pairs:
        name = (pair.stratum.strategy, pair.stratum.part)
        if name not in latest or pair.stratum.at > latest[name].stratum.at:
            latest[name] = pair
    found = sorted(latest.values(), key=lambda pair: (pair.stratum.part, pair.stratum.strategy))
    return [Card(pair) for pair in found[:NUM_WITHOUT_SCRIPT]]


def where(stratum: Stratum) -> str:
    """Where a pair comes from, in words."""
    return f"label bought in step {stratum.at}" if stratum.part == LABEL else f"test comparison at {stratum.at} labels"


def remarks(pair: Shown) -> str:
    """What is known of a verdict beside itself."""
    if not pair.replies:
        return "Both texts are the same, and nobody was asked."
    said = [f"Shown in the order {'B, A' if pair.swapped else 'A, B'}"]
    if pair.p_first is not None:
        said.append(f"probability of A by the {ASKED[pair.stratum.part]}: {100 * pair.p_first:.1f}\u00a0%")
    if pair.p_policy is not None:
        said.append(f"by the policy's implicit preference, before: {100 * pair.p_policy:.1f}\u00a0%")
    return "; ".join(said) + "."


def pairs_data(pairs: Sequence[Shown]) -> str:
    """The pairs for the page's script: JSON in which no `<`, `>` or `&` stands, so that it can't end its element."""
    strategies = sorted({pair.stratum.strategy for pair in pairs})
    places = sorted({(pair.stratum.part, pair.stratum.at) for pair in pairs})
    content = {
        "strategies": [visible(name) for name in strategies],
        "places": [{"part": part, "name": where(Stratum("", part, at))} for part, at in places],
        "words": WORDS,
        "pairs": [pair_json(pair, strategies, places) for pair in pairs],
    }
    return _within_script(content)


def pair_json(pair: Shown, strategies: Sequence[str], places: Sequence[tuple[str, int]]) -> dict[str, JSON]:
    """A pair for the page's script; the strategy and the step or waypoint by their places in these."""
    return {
        "strategy": strategies.index(pair.stratum.strategy),
        "place": places.index((pair.stratum.part, pair.stratum.at)),
        "seed": pair.seed,
        "prompt": marked(pair.prompt),
        "first": marked(pair.first),
        "second": marked(pair.second),
        "verdict": pair.verdict,
        "remarks": remarks(pair),
        "replies": [marked(reply) for reply in pair.replies],
    }


def within(pairs: Sequence[Shown], max_bytes: int | None) -> list[Shown]:
    """As many of these as take up so many bytes of a page at most, in their order; all where no limit is given."""
    kept: list[Shown] = []
    num_bytes = 0
    for pair in pairs:
        num_bytes += len(
            _within_script(pair_json(pair, [pair.stratum.strategy], [(pair.stratum.part, pair.stratum.at)]))
        )
        if max_bytes is not None and num_bytes > max_bytes:
            break
        kept.append(pair)
    return kept


def _within_script(content: object) -> str:
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
