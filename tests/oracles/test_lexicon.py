"""The lexicon: what VADER says, what it does not see, and how often it is right."""

from __future__ import annotations

import gzip
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.checks import check_oracle
from apl_bench.oracles import lexicon
from apl_bench.oracles.lexicon import USUAL, Lexicon, Score
from apl_bench.registry import ORACLES
from apl_bench.tasks.reviews import clean
from apl_bench.types import Comparison, Completion, Pair, Prompt, Reply, SpecError, Verdict
from tests.fakes import FakeTask

REVIEWS = Path(__file__).resolve().parents[3] / "shared" / "data" / "imdb.jsonl.gz"
PROMPT = "I saw this film last night and"
GOOD = " it was a wonderful experience. The acting is excellent and I highly recommend it to everyone."

pytest.importorskip("vaderSentiment", reason="the extra 'lexicon' is not installed")


def oracle(**changes: Any) -> Lexicon:
    return Lexicon(**{**USUAL, **changes})


def comparison(first: str, second: str, prompt: str = PROMPT, swapped: bool = False) -> Comparison:
    sides = (Completion(text, (1,), finished=False) for text in (first, second))
    return Comparison(Pair(Prompt("p", prompt), *sides), swapped)


def verdict(first: str, second: str, **changes: Any) -> Verdict:
    asked = oracle(**changes)
    return asked.read(asked.ask([comparison(first, second)])[0]).verdict


def test_it_keeps_the_contract() -> None:
    assert check_oracle(lambda: ORACLES.create("lexicon", USUAL)) == []
    assert ORACLES.entry("lexicon").summary == Lexicon.summary
    assert Lexicon.defaults("oracle", FakeTask) == USUAL


@pytest.mark.parametrize(
    ("text", "compound"),
    [
        # worked out from the published rules: valence sum s, then s / sqrt(s^2 + 15); great 3.1, terrible -2.1
        ("great", 3.1 / (3.1**2 + 15) ** 0.5),
        ("great great", 6.2 / (6.2**2 + 15) ** 0.5),
        ("terrible", -2.1 / (2.1**2 + 15) ** 0.5),
        ("not great", -0.74 * 3.1 / ((0.74 * 3.1) ** 2 + 15) ** 0.5),
        ("the", 0.0),
        ("", 0.0),
    ],
)
def test_the_compound_is_vaders(text: str, compound: float) -> None:
    assert oracle().explain("", text).compound == pytest.approx(compound, abs=5e-5)


def test_the_formula() -> None:
    """Sixty words of no list, all different, where forty are free: 0.5 * (60 / 40 - 1)."""
    text = " ".join(f"q{first}{second}" for first in "bcdfgh" for second in "bcdfghjklm")
    plain = oracle(repetition_weight=3, length_weight=0.5, num_words=40).explain("", text)
    assert plain == Score(compound=0.0, repetition=0.0, length=0.25)
    # great great great: two recurrences of a content word (the one triple does not come again), in three words
    repeated = oracle(repetition_weight=3).explain("", "great great great")
    assert repeated.repetition == pytest.approx(3 * 2 / 3, abs=1e-6)
    assert repeated.total == pytest.approx(repeated.compound - 2, abs=1e-6)


@pytest.mark.parametrize(
    "worse",
    [
        " great great great.",
        " great great great great great great great great great great great great.",
        " it is a great film. It is a great film. It is a great film. It is a great film.",
        " wonderful excellent wonderful excellent wonderful excellent wonderful.",
        " the best best best best best best best.",
        " it was a terrible experience. The acting is awful and I warn everyone.",
        " it was a movie with two actors.",
        " it was not a wonderful experience.",
    ],
)
def test_a_good_sentence_beats_praise_in_a_loop_and_worse_ones(worse: str) -> None:
    assert verdict(GOOD, worse) is Verdict.FIRST
    assert verdict(worse, GOOD) is Verdict.SECOND


def test_without_the_penalty_the_loop_would_win() -> None:
    loop = " great" * 12
    assert verdict(loop, GOOD, repetition_weight=0) is Verdict.FIRST
    assert verdict(loop, GOOD) is Verdict.SECOND


def test_what_goes_on_and_on_loses_to_the_same_in_time() -> None:
    words = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeiou" for c in "lmnrt"]  # 125 that no list has
    assert verdict(GOOD, f"{GOOD} {' '.join(words)}") is Verdict.FIRST


def test_penalties_are_the_completions_own() -> None:
    """A prompt is given; what repeats in it costs neither side."""
    prompt = "Film film film film film film. " * 20
    assert oracle().explain(prompt, GOOD).repetition == oracle().explain("", GOOD).repetition == 0
    assert oracle().explain(prompt, GOOD).length == 0
    assert oracle().explain("It was not", " good.").compound < 0


def test_the_request_pins_version_lists_and_weights() -> None:
    request = dict(oracle(num_words=30).request(comparison("a", "b", swapped=True)))
    name, _, checksum = str(request.pop("model")).partition("@")
    assert (name, len(checksum)) == (f"vader-{lexicon.installed().version}", 12)
    assert request == {
        "provider": "apl-bench", "repetition_weight": 2.0, "length_weight": 0.25, "num_words": 30,
        "prompt": PROMPT, "first": "b", "second": "a", "repeat": 0,
    }  # fmt: skip
    assert str(oracle().identity()["lexicon_sha256"]).startswith(checksum)


def test_a_reply_is_canonical_json_whose_pieces_add_up() -> None:
    reply = oracle().ask([comparison(GOOD, " great great.")])[0]
    answer = json.loads(reply.raw)
    assert rfc8785.dumps(answer).decode() == reply.raw
    for place in ("first", "second"):
        pieces = answer[place]
        total = pieces["compound"] - pieces["repetition"] - pieces["length"]
        assert answer[f"score_{place}"] == pytest.approx(total, abs=1e-6)


TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(["great", "not", "bad", "but", "!", "😀", "VERY", ""])).map(
    " ".join
)


@given(TEXTS, TEXTS, TEXTS)
def test_any_text_has_a_score_and_swapping_swaps_the_verdict(prompt: str, first: str, second: str) -> None:
    asked = comparison(first, second, prompt)
    one, other = (oracle().read(reply) for reply in oracle().ask([asked, asked.swap()]))
    assert one.verdict.unswap(True) is other.verdict
    assert one.verdict is not Verdict.INVALID
    assert one.p_first is None


@pytest.mark.parametrize(
    "raw",
    ["", "Preferred: A", "null", "[" * 100_000, '{"score_first": 1}', '{"score_first": true, "score_second": 0}',
     '{"score_first": NaN, "score_second": 0}', '{"score_first": 1e999, "score_second": 0}',
     '{"score_first": 1, "score_second": 2, "score_first": 3}', '{"score_first": null, "score_second": 1}'],
)  # fmt: skip
def test_what_cannot_be_read_is_invalid(raw: str) -> None:
    assert oracle().read(Reply(raw, "m")).verdict is Verdict.INVALID


def test_a_reply_that_did_not_come_through_is_invalid() -> None:
    assert oracle().read(Reply('{"score_first": 1, "score_second": 2}', "m", "truncated")).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("repetition_weight", -1, "a number from 0"), ("length_weight", True, "a number from 0"),
     ("length_weight", "much", "a number from 0"), ("num_words", 0, "a whole number from 1"),
     ("num_words", 2.5, "a whole number from 1")],
)  # fmt: skip
def test_a_parameter_that_cannot_be_is_named(name: str, value: Any, expected: str) -> None:
    with pytest.raises(SpecError, match=rf"{name} is .*; expected {expected}"):
        oracle(**{name: value})


@pytest.fixture
def _not_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    found = importlib.import_module

    def import_module(name: str) -> Any:
        if name.startswith("vaderSentiment"):
            raise ModuleNotFoundError(name)
        return found(name)

    lexicon.installed.cache_clear()
    monkeypatch.setattr(importlib, "import_module", import_module)
    yield
    lexicon.installed.cache_clear()


@pytest.mark.usefixtures("_not_installed")
def test_without_the_package_it_says_how_to_install_it() -> None:
    with pytest.raises(SpecError, match=r"needs the package vaderSentiment.*pip install 'apl-bench\[lexicon\]'"):
        oracle()


@pytest.mark.skipif(not REVIEWS.is_file(), reason="the labelled reviews are not on this machine")
def test_its_accuracy_is_what_the_docstring_says() -> None:
    with gzip.open(REVIEWS, "rt") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == "test"]
    positive = np.array([row["label"] == "pos" for row in rows])
    texts = [clean(row["text"]) for row in rows]
    openings = [" ".join(text.split(" ")[:40]) for text in texts]
    analyser = lexicon.installed().analyser
    for read, documented in ((texts, "70.7"), (openings, "64.3")):
        compounds = np.array([analyser.polarity_scores(text)["compound"] for text in read])
        assert f"{100 * np.mean((compounds > 0) == positive):.1f}" == documented
        assert documented in str(lexicon.__doc__)
