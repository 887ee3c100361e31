"""How good a judge is at judging: what its verdicts say about itself. Pure functions on opinions.

Every share has an interval of 95 % and its count (apl_bench/intervals.py); what the opinions cannot say is a Missing
with the reason, never a 0. A pair that was judged several times, as at two waypoints, counts once: the second verdict
is the first one's record. Verdicts on one prompt hang together, so its pairs are one cluster.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

from apl_bench.annotation.agreement import Measure, alpha_measure, kappa_measure
from apl_bench.health.intervals import clustered_share, exact_share, sign_test
from apl_bench.health.length import Length, Seen, length_preference
from apl_bench.health.phrases import phrases_in
from apl_bench.types import Pair, Reading, Verdict

NUM_BINS = 5  # of p_first, folded: from 0.5 to 1
DECIDED = (Verdict.FIRST, Verdict.SECOND)


@dataclass(frozen=True, slots=True)
class Missing:
    """What cannot be said from what is recorded: why, and where it helps what to do."""

    why: str


Found: TypeAlias = Measure | Missing


@dataclass(frozen=True, slots=True)
class Answer:
    """What a judge said when it was asked once; the reading is in the order shown."""

    swapped: bool
    repeat: int
    reading: Reading

    @property
    def meant(self) -> Verdict:
        """The verdict in the pair's own order."""
        return self.reading.verdict.unswap(self.swapped)


@dataclass(frozen=True, slots=True)
class Opinion:
    """A judge's verdict on a pair, in the pair's own order, and the single answers behind it, in the order asked.

    No answers: the two texts are the same, and nobody was asked.
    """

    pair: Pair
    swapped: bool
    verdict: Verdict
    answers: tuple[Answer, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What is judged, whichever of the two texts the pair has first."""
        smaller, larger = sorted([self.pair.first.text, self.pair.second.text])
        return self.pair.prompt.text, smaller, larger

    @property
    def by_content(self) -> Verdict:
        """The verdict with the lexicographically smaller text as the first, so that two judges' can be compared."""
        return self.verdict.unswap(self.pair.first.text > self.pair.second.text)

    @property
    def shown(self) -> Verdict:
        """The verdict as it names positions: that of the first answer where the pair was shown in both orders."""
        if any(answer.swapped != self.swapped for answer in self.answers):
            return self.answers[0].reading.verdict
        return self.verdict.unswap(self.swapped)


@dataclass(frozen=True, slots=True)
class Position:
    """Whether the place decides. `first`: share of decided verdicts for the text shown first, where the order is
    random, with the p-value of 1/2. `same`: share of pairs shown in both orders whose two answers mean the same.
    `num_firsts`, `num_seconds`: pairs whose answers both named the first place, or both the second, with the p-value
    of these being equally likely; None where there are none.
    """

    first: Found
    first_p: float | None
    same: Found
    num_firsts: int
    num_seconds: int
    flips_p: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether p_first is the probability with which the same question, asked again, is answered FIRST.

    Over each reading with a probability and each other answer to the same question: mean `confidence`, max(p, 1 - p),
    against the share `confirmed` of the other answers; `brier`: mean squared error of p_first, a tie as half; `bins`:
    (mean confidence, confirmed) from 0.5 to 1, those that hold any.
    """

    confidence: float
    confirmed: Measure
    brier: float
    bins: tuple[tuple[float, Measure], ...]


@dataclass(frozen=True, slots=True)
class Phrases:
    """Phrases that address a judge: share of texts that hold one, how many hold which, and how often such a text won
    against one without."""

    texts: Found
    counts: Mapping[str, int]
    won: Found


@dataclass(frozen=True, slots=True)
class Health:
    """All that a judge's opinions say of it. `num_asked`: different pairs, those of two equal texts left out."""

    num_pairs: int
    num_identical: int
    num_asked: int
    ties: Found
    invalid: Found
    position: Position
    repeats: Found
    length: Length | Missing
    phrases: Phrases
    calibration: Calibration | Missing
    accuracy: Found
    accuracy_decided: Found


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two judges on the pairs that both judged: share of equal verdicts, Cohen's kappa, Krippendorff's alpha."""

    same: Measure
    kappa: Found
    alpha: Found


def health(opinions: Sequence[Opinion], is_random: bool, labels: Sequence[Verdict | None] = ()) -> Health:
    """What these opinions say; `is_random`: the order shown was drawn, and not fixed.

    `labels`: what is right for each opinion, in the pair's own order, None where unknown; empty where nothing is.
    """
    asked = distinct(opinions)
    return Health(
        num_pairs=len(opinions),
        num_identical=sum(opinion.pair.identical for opinion in opinions),
        num_asked=len(asked),
        ties=_share([(opinion.verdict is Verdict.TIE, _prompt(opinion)) for opinion in asked], "nothing was asked"),
        invalid=_share(
            [(opinion.verdict is Verdict.INVALID, _prompt(opinion)) for opinion in asked], "nothing was asked"
        ),
        position=position(asked, is_random),
        repeats=self_consistency(asked),
        length=_length(asked),
        phrases=phrases(asked),
        calibration=calibration(asked),
        accuracy=_accuracy(opinions, labels, decided=False),
        accuracy_decided=_accuracy(opinions, labels, decided=True),
    )


def distinct(opinions: Sequence[Opinion]) -> list[Opinion]:
    """Each pair that was asked about once, the first opinion on it; pairs of equal texts left out."""
    first: dict[tuple[str, str, str], Opinion] = {}
    for opinion in opinions:
        if not opinion.pair.identical:
            first.setdefault(opinion.key, opinion)
    return list(first.values())


def position(asked: Sequence[Opinion], is_random: bool) -> Position:
    """What the place of a text does to the verdict.

    A random order makes 1/2 the null of `first`, whatever the texts are: each pair's order is a coin of its own, so
    that the pairs are independent here, also those of one prompt.
    """
    shown = [opinion.shown for opinion in asked if opinion.shown in DECIDED]
    num_first, twice = shown.count(Verdict.FIRST), [both for opinion in asked for both in _both_orders(opinion)]
    first: Found = exact_share(num_first, len(shown)) if shown else Missing("no verdict prefers either text")
    if not is_random:
        first = Missing("the order was fixed, so the better text may stand first more often")
    pairs = [both for _, both in twice]
    num_firsts, num_seconds = (pairs.count((verdict, verdict)) for verdict in DECIDED)
    why = "no pair was shown in both orders; ask in the order both"
    return Position(
        first,
        sign_test(num_first, len(shown)) if isinstance(first, Measure) else None,
        _share([(one is other.unswap(True), prompt) for prompt, (one, other) in twice], why),
        num_firsts,
        num_seconds,
        sign_test(num_firsts, num_firsts + num_seconds) if num_firsts + num_seconds else None,
    )


def _both_orders(opinion: Opinion) -> Iterator[tuple[str, tuple[Verdict, Verdict]]]:
    """The verdicts as shown of answers to a pair in both orders at the same repeat, those that could be read."""
    straight = {answer.repeat: answer.reading.verdict for answer in opinion.answers if not answer.swapped}
    for answer in opinion.answers:
        if answer.swapped and answer.repeat in straight:
            both = (straight[answer.repeat], answer.reading.verdict)
            if Verdict.INVALID not in both:
                yield _prompt(opinion), both


def self_consistency(asked: Sequence[Opinion]) -> Found:
    """Share of two askings of the same question, in the same order, with the same verdict (figure 1 of the paper).

    All two of k askings count, unreadable answers left out; those of one prompt are one cluster.
    """
    same = [
        (one.reading.verdict is other.reading.verdict, _prompt(opinion))
        for opinion in asked
        for one, other in _repeats(opinion)
        if Verdict.INVALID not in (one.reading.verdict, other.reading.verdict)
    ]
    return _share(same, "no question was asked twice; ask with repeat(2, ...)")


def _repeats(opinion: Opinion) -> Iterator[tuple[Answer, Answer]]:
    """Every two answers to the same question."""
    for one, other in combinations(opinion.answers, 2):
        if one.swapped == other.swapped and one.repeat != other.repeat:
            yield one, other


def calibration(asked: Sequence[Opinion]) -> Calibration | Missing:
    """Each probability against the other answers to its own question, so that no reply confirms itself."""
    cases = [
        (one.reading.p_first, other.reading.verdict, _prompt(opinion))
        for opinion in asked
        for two in _repeats(opinion)
        for one, other in (two, two[::-1])
        if one.reading.p_first is not None and other.reading.verdict in (*DECIDED, Verdict.TIE)
    ]
    if not cases:
        return Missing("it takes answers with a probability, and repeats of the same question")
    points = {Verdict.FIRST: 1.0, Verdict.TIE: 0.5, Verdict.SECOND: 0.0}
    brier = math.fsum((p_first - points[verdict]) ** 2 for p_first, verdict, _ in cases) / len(cases)
    folded = [(max(p, 1 - p), verdict is (Verdict.FIRST if p >= 0.5 else Verdict.SECOND), prompt)
              for p, verdict, prompt in cases]  # fmt: skip
    bins = [[case for case in folded if _bin(case[0]) == number] for number in range(NUM_BINS)]
    whole, *parts = [_confirmed(cases) for cases in (folded, *bins) if cases]
    return Calibration(whole[0], whole[1], brier, tuple(parts))


def _bin(confidence: float) -> int:
    return min(int((confidence - 0.5) * 2 * NUM_BINS), NUM_BINS - 1)


def _confirmed(cases: Sequence[tuple[float, bool, str]]) -> tuple[float, Measure]:
    mean = math.fsum(confidence for confidence, _, _ in cases) / len(cases)
    return mean, clustered_share([confirmed for _, confirmed, _ in cases], [prompt for _, _, prompt in cases])


def _length(asked: Sequence[Opinion]) -> Length | Missing:
    """Preference for the longer text, from decided verdicts in the order shown."""
    seen = []
    for opinion in asked:
        if opinion.verdict in DECIDED:
            texts = (opinion.pair.first.text, opinion.pair.second.text)
            lengths = [len(text.strip()) for text in (texts[::-1] if opinion.swapped else texts)]
            won = opinion.verdict.unswap(opinion.swapped) is Verdict.FIRST
            seen.append(Seen(lengths[0], lengths[1], won, _prompt(opinion)))
    if not any(case.first != case.second for case in seen):
        return Missing("no verdict prefers one of two texts of different length")
    return length_preference(seen)


def phrases(asked: Sequence[Opinion]) -> Phrases:
    """What is written at the judge, and how often it won."""
    holders = {
        text: phrases_in(text) for opinion in asked for text in (opinion.pair.first.text, opinion.pair.second.text)
    }
    counts: dict[str, int] = {}
    for names in holders.values():
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    won = []
    for opinion in asked:
        first, second = (bool(holders[side.text]) for side in (opinion.pair.first, opinion.pair.second))
        if first != second and opinion.verdict in DECIDED:
            won.append((opinion.verdict is (Verdict.FIRST if first else Verdict.SECOND), _prompt(opinion)))
    num = sum(map(bool, holders.values()))
    texts: Found = exact_share(num, len(holders)) if holders else Missing("nothing was asked")
    why = "no text that addresses the judge met one that does not, with a verdict for either"
    return Phrases(texts, dict(sorted(counts.items())), _share(won, why))


def _accuracy(opinions: Sequence[Opinion], labels: Sequence[Verdict | None], decided: bool) -> Found:
    """Share of labelled pairs with the right verdict, an unreadable one being wrong; `decided`: ties left out."""
    if not labels:
        return Missing("there are no labels to compare with")
    right = [
        (opinion.verdict is label, _prompt(opinion))
        for opinion, label in zip(opinions, labels, strict=True)
        if label is not None
        and not opinion.pair.identical
        and not (decided and (label not in DECIDED or opinion.verdict not in DECIDED))
    ]
    return _share(right, "no labelled pair was asked" + (" and decided" if decided else ""))


def agreement(ours: Sequence[Opinion], theirs: Sequence[Opinion]) -> Agreement | Missing:
    """How far two judges agree on the pairs that both judged and both verdicts of which could be read."""
    others = {opinion.key: opinion.by_content for opinion in distinct(theirs)}
    shared = [(opinion.by_content, others[opinion.key], _prompt(opinion))
              for opinion in distinct(ours) if opinion.key in others]  # fmt: skip
    valid = [row for row in shared if Verdict.INVALID not in row[:2]]
    if not valid:
        return Missing("they judged no pair both" if not shared else "no pair has two verdicts that can be read")
    one, other = ([verdict.value for verdict in column] for column in list(zip(*valid, strict=True))[:2])
    same = clustered_share([a == b for a, b in zip(one, other, strict=True)], [prompt for _, _, prompt in valid])
    kappa, alpha = kappa_measure(one, other), alpha_measure([one, other])
    why = "both gave one and the same verdict to every pair, which chance alone explains"
    return Agreement(same, *(Missing(why) if math.isnan(each.value) else each for each in (kappa, alpha)))


def _prompt(opinion: Opinion) -> str:
    return opinion.pair.prompt.text


def _share(hits: Sequence[tuple[bool, str]], why: str) -> Found:
    """The share of those that hit, each with its prompt; `why` there is none, where there is none."""
    if not hits:
        return Missing(why)
    return clustered_share([hit for hit, _ in hits], [prompt for _, prompt in hits])
