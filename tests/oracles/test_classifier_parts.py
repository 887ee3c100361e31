"""The parts of the classifier on small cases worked out by hand, and its file format."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.oracles.fluency import Association, Penalty, incoherence, odd_share, repetition, unknown_share
from apl_bench.oracles.sentiment import bounded, feature_keys, log_odds
from apl_bench.oracles.weights import parse_weights, read_weights, write_weights
from apl_bench.oracles.words import NEGATED, UNKNOWN, Vocabulary, may_be_cut, pair_key, tokenize

WORDS = ["!", "bad", "film", "good", "not"]  # ids 3, 4, 5, 6, 7
BAD, FILM, GOOD, NOT = 4, 5, 6, 7


def tensors() -> dict[str, np.ndarray]:
    """A whole classifier of five words: 'good' weighs 2 of scale 3, 'good film' 1 of scale 4."""
    three = np.array([0.1, 0.0, 2.0])
    return {
        "scoring": np.array([1]),
        "words": np.frombuffer("\n".join(WORDS).encode(), dtype=np.uint8),
        "association.pairs": np.array([pair_key(GOOD, FILM)], dtype=np.uint32),
        "association.values": np.array([64], dtype=np.int8),
        "association.after": np.full(8, -1.0, dtype=np.float16),
        "association.before": np.full(8, 0.5, dtype=np.float16),
        "sentiment.keys": np.array([GOOD, pair_key(GOOD, FILM)], dtype=np.uint32),
        "sentiment.weights": np.array([2.0, 1.0], dtype=np.float16),
        "sentiment.scales": np.array([3.0, 4.0], dtype=np.float16),
        "sentiment.intercept": np.array([0.25]),
        "sentiment.limit": np.array([3.0]),
        **{f"penalty.{name}": three for name in ("repetition", "incoherence", "unknown", "odd")},
    }


def test_words_numbers_and_phrase_marks_are_tokens() -> None:
    assert tokenize('It\u2019s a "GOOD" film-noir, 8/10!') == ["It's", "a", "GOOD", "film", "noir", ",", "8", "10", "!"]


@pytest.mark.parametrize(
    ("text", "cut"), [("a goo", True), ("don'", True), ("a goo ", True), ("good.", False), ("", False)]
)
def test_only_a_text_that_ends_in_a_word_may_be_cut(text: str, cut: bool) -> None:
    assert may_be_cut(text) is cut


def test_features_are_words_pairs_and_negated_words_up_to_a_mark() -> None:
    vocabulary = Vocabulary.of(WORDS)
    ids = vocabulary.encode(tokenize("Not good xyz film ! film good film"))
    assert ids == [NOT, GOOD, UNKNOWN, FILM, 3, FILM, GOOD, FILM]
    assert feature_keys(ids, vocabulary) == [
        NOT, pair_key(NEGATED, GOOD), pair_key(NOT, GOOD), pair_key(NEGATED, FILM), 3,
        FILM, GOOD, pair_key(FILM, GOOD), pair_key(GOOD, FILM),
    ]  # fmt: skip


def test_a_negation_ends_after_three_words() -> None:
    vocabulary = Vocabulary.of(WORDS)
    keys = feature_keys([NOT, FILM, FILM, FILM, GOOD, BAD], vocabulary)
    assert pair_key(NEGATED, FILM) in keys
    assert GOOD in keys
    assert pair_key(NEGATED, GOOD) not in keys


def test_log_odds_divide_the_weights_by_the_length_of_the_scales() -> None:
    # (2 + 1) / sqrt(3^2 + 4^2) + 0.25 = 0.85; features that are not known do nothing
    weights = {GOOD: (2.0, 3.0), pair_key(GOOD, FILM): (1.0, 4.0)}
    assert log_odds([GOOD, BAD, pair_key(GOOD, FILM)], weights, 0.25) == pytest.approx(0.85)
    assert log_odds([BAD], weights, 0.25) == 0.25


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_the_bound_keeps_the_order_and_the_sign(one: float, other: float) -> None:
    assert abs(bounded(one, 3.0)) <= 3.0
    assert bounded(-one, 3.0) == -bounded(one, 3.0)
    assert (one <= other) <= (bounded(one, 3.0) <= bounded(other, 3.0))


def test_the_bound_at_a_3_4_5_triangle() -> None:
    assert bounded(4.0, 3.0) == pytest.approx(4 / math.sqrt(1 + 16 / 9))  # = 12/5
    assert bounded(4.0, 3.0) == pytest.approx(2.4)


def test_a_penalty_without_softness_is_a_hinge_and_with_it_a_smooth_one() -> None:
    hinge, smooth = Penalty(1.0, 0.0, 2.0), Penalty(1.0, 4.0, 2.0)
    assert [hinge(x) for x in (0.0, 1.0, 4.0)] == [0.0, 0.0, 6.0]
    assert smooth(4.0) == pytest.approx(2 * (3 + 5) / 2)


def test_repetition_counts_content_words_and_triples_that_came_before() -> None:
    # 'good' and 'film' come back, and so does 'good film the': 3 of 6 words; 'the' is free
    assert repetition(tokenize("good film the good film the")) == pytest.approx(3 / 6)
    assert repetition(tokenize("the the of of")) == 0.0
    assert repetition(tokenize("Great great great great")) == pytest.approx((3 + 1) / 4)
    assert repetition([]) == 0.0


def test_a_word_may_come_back_after_forty_words() -> None:
    between = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(40)]
    assert repetition(["film", *between, "film"]) == 0.0
    assert repetition(["film", *between[:38], "film"]) == pytest.approx(1 / 40)


def test_incoherence_is_minus_the_mean_association_and_a_doubled_word_is_chance() -> None:
    association = Association({pair_key(GOOD, FILM): 2.0}, [-1.0] * 8, [0.5] * 8)
    # 'good film' 2.0, 'film bad' -1.0 + 0.5, 'bad bad' 0
    assert incoherence([GOOD, FILM, BAD, BAD], association) == pytest.approx(-(2.0 - 0.5 + 0.0) / 3)
    assert incoherence([GOOD], association) == -3.0


def test_one_stock_phrase_counts_three_nats_at_most() -> None:
    association = Association({pair_key(GOOD, FILM): 9.0}, [-9.0] * 8, [0.0] * 8)
    assert incoherence([GOOD, FILM, BAD], association) == pytest.approx(0.0)


def test_unknown_words_count_unless_they_may_be_names_or_numbers() -> None:
    tokens = ["the", "flomming", "Zeffirelli", "1999", "film"]
    assert unknown_share(tokens, [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, FILM]) == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("A fine film, 10:30 - 'yes'!", 0),
        ("no!!!!", 4),
        ("no!!!", 0),
        ("a~b", 1),
        ("fil:m", 1),
        ("\u00e9t\u00e9", 0),
        ("\x00", 1),
    ],
)
def test_odd_characters_are_counted(text: str, odd: int) -> None:
    assert odd_share(text) == pytest.approx(odd / len(text))


def test_weights_come_back_as_written(tmp_path: Path) -> None:
    write_weights(tmp_path / "a", tensors())
    write_weights(tmp_path / "b", dict(reversed(tensors().items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    weights = read_weights(tmp_path / "a")
    assert weights.sentiment == {GOOD: (2.0, 3.0), pair_key(GOOD, FILM): (1.0, 4.0)}
    assert weights.association(GOOD, FILM) == 2.0
    assert weights.association(FILM, GOOD) == -0.5
    assert weights.penalties["odd"] == Penalty(0.1, 0.0, 2.0)
    assert weights.vocabulary.negators == {NOT}
    assert len(weights.sha256) == 64


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "association.after",
            np.zeros(7, dtype=np.float16),
            r"association.after is float16\[7\]; expected float16\[8\]",
        ),
        (
            "sentiment.weights",
            np.zeros(3, dtype=np.float16),
            r"sentiment.weights is float16\[3\]; expected float16\[2\]",
        ),
        ("sentiment.limit", np.array([3]), r"sentiment.limit is int64\[1\]; expected float64\[1\]"),
        ("sentiment.intercept", np.array([math.nan]), "sentiment.intercept holds a number that is not finite"),
        ("scoring", np.array([0]), "scoring rules 0; this version reads 1"),
        ("surprise", np.zeros(1), "tensors .'surprise'. missing or not known"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_weights(tmp_path / "w", {**tensors(), name: value})
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x04N.", b"\xff" * 64])
def test_bytes_that_are_no_safetensors_are_refused_with_what_to_do(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"x is no classifier: not safetensors .* python recipes/classifier\.py"):
        parse_weights(data, "x")
