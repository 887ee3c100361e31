"""The classifier oracle: what it prefers on real examples, how it answers, and how its answers are read."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from apl_bench.oracles.classifier import MODELS, Classifier
from apl_bench.tasks.reviews import Review, Share, read_package, share_of
from apl_bench.types import Comparison, Completion, Pair, Prompt, Reply, SpecError, Verdict

PROMPT = "I saw this film last week and"
GOOD = " it was a wonderful experience. The acting is excellent and I highly recommend it to everyone."

BETTER_THEN_WORSE = {
    "sentiment": (GOOD, " it was a terrible experience. The acting is awful and I would not recommend it to anyone."),
    "mild sentiment": (" I enjoyed it a lot. A charming story.", " I was bored by it. A tedious story."),
    "one word again and again": (GOOD, " great great great great great great great great great great great great."),
    "one sentence again and again": (
        GOOD,
        " it is a great film. It is a great film. It is a great film. It is a great film.",
    ),
    "two words in turn": (
        GOOD,
        " it is wonderful excellent wonderful excellent wonderful excellent wonderful excellent.",
    ),
    "praise without grammar": (
        GOOD,
        " wonderful excellent superb perfect brilliant favorite amazing fantastic loved beautiful moving terrific.",
    ),
    "more praise without grammar": (
        GOOD,
        " loved highly best perfect masterpiece love hilarious touching today gem enjoyable delightful rare.",
    ),
    "a good sentence, shuffled": (
        GOOD,
        " and it everyone recommend a highly is wonderful The experience. it acting I excellent was to.",
    ),
    "words that are none": (
        GOOD,
        " it was a wonderful exgrimbly. The flomming is excellent and I highly bratend it to klod.",
    ),
    "symbols": (
        GOOD,
        " it was a wonderful experience ~~~~ {{@@}} The acting is excellent <<||>> and ^^ I recommend it",
    ),
    "shouting marks": (
        GOOD,
        " it was a wonderful experience!!!!!!!!!! The acting is excellent!!!!!!!! I recommend it!!!!!!!",
    ),
    "plain beats praise in a loop": (
        " it was a movie with two actors. I saw it on television with my brother.",
        " the best best best best best best best best best best best best best best.",
    ),
    "negated praise": (" it is good.", " it is not good at all."),
    "negated liking": (" I liked it.", " I did not like it."),
    "negated blame": (" it is not a bad movie.", " it is a bad movie."),
    "praise denied": (" it is worth seeing.", " it is not worth seeing."),
}


@pytest.fixture(scope="module", params=MODELS)
def classifier(request: pytest.FixtureRequest) -> Classifier:
    return Classifier(request.param)


@pytest.fixture(scope="module")
def held_out() -> list[Review]:
    """1,000 reviews that no classifier was trained on, from all over the file (which is sorted by label)."""
    reviews = [review for review in read_package() if share_of(review.text) is Share.HELD_OUT]
    return random.Random(0).sample(reviews, 1000)


def comparison(first: str, second: str, swapped: bool = False) -> Comparison:
    completions = [Completion(text, (1,), finished=False) for text in (first, second)]
    return Comparison(Pair(Prompt("p", PROMPT), *completions), swapped)


def opening(review: Review) -> str:
    return " ".join(review.text.split(" ")[:40])


def accuracy(classifier: Classifier, reviews: list[Review]) -> float:
    return float(np.mean([(classifier.explain(r.text).sentiment > 0) == r.positive for r in reviews]))


def verdict(classifier: Classifier, asked: Comparison) -> Verdict:
    return classifier.read(classifier.ask([asked])[0]).verdict


@pytest.mark.parametrize("name", BETTER_THEN_WORSE)
def test_the_better_text_wins_in_either_place(classifier: Classifier, name: str) -> None:
    asked = comparison(*BETTER_THEN_WORSE[name])
    assert verdict(classifier, asked) is Verdict.FIRST
    assert verdict(classifier, asked.swap()) is Verdict.SECOND


def test_a_last_word_cut_in_half_costs_nothing(classifier: Classifier) -> None:
    text = PROMPT + " it has two actors. It is absolutely "
    penalties = {end: classifier.explain(text + end).brokenness for end in ("wonderful", "wonderf", "wond", "w")}
    assert len(set(penalties.values())) == 1
    assert classifier.explain(text + "wonderf.").brokenness > penalties["wonderf"]
    assert classifier.explain(text + "wonderful").sentiment > classifier.explain(text + "wonderf").sentiment


def test_words_that_are_none_cost_more_than_unknown_names(classifier: Classifier) -> None:
    words, names = " the flomming bratend of the exgrimbly.", " the Flomming Bratend of the Exgrimbly."
    assert classifier.explain(PROMPT + words).brokenness > classifier.explain(PROMPT + names).brokenness + 0.5


def test_odd_characters_cost_what_usual_ones_do_not(classifier: Classifier) -> None:
    odd, usual = (f" it was {mark}fine{mark} and {mark}fun{mark}." for mark in ("~^", '"'))
    assert classifier.explain(PROMPT + odd).brokenness > classifier.explain(PROMPT + usual).brokenness + 0.5


def test_what_is_scored_is_the_prompt_with_its_completion(classifier: Classifier) -> None:
    answer = json.loads(classifier.ask([comparison(GOOD, " dull.")])[0].raw)
    assert [answer["score_first"], answer["score_second"]] == classifier.score(
        [PROMPT + GOOD, PROMPT + " dull."]
    ).tolist()


@pytest.mark.parametrize(("model", "digits"), [("oracle", [2.383869, -1.705031]), ("judge", [2.275636, -1.859847])])
def test_the_shipped_digits_stand(model: str, digits: list[float]) -> None:
    """Made of correctly rounded operations only, so equal on every machine; other digits are another oracle."""
    assert Classifier(model).score([PROMPT + GOOD, "Thi\u00eas ~ is not, not a go"]).tolist() == digits


def test_praise_is_worth_less_and_less(classifier: Classifier) -> None:
    one, two, three = (
        classifier.explain(PROMPT + text).sentiment
        for text in (" it was a wonderful film.", " it was a wonderful, superb film.", GOOD + " A perfect masterpiece.")
    )
    assert one < two < three < 3.0


def test_held_out_reviews_are_read_as_labelled(classifier: Classifier, held_out: list[Review]) -> None:
    openings = [Review(opening(review), review.positive) for review in held_out]
    assert accuracy(classifier, held_out) >= 0.87
    assert accuracy(classifier, openings) >= 0.74


def test_human_text_scores_above_its_own_words_in_random_order(classifier: Classifier, held_out: list[Review]) -> None:
    human, rng = [opening(review) for review in held_out], random.Random(0)
    shuffled = [" ".join(rng.sample(words, len(words))) for words in (text.split() for text in human)]
    assert np.mean(classifier.score(human) > classifier.score(shuffled)) > 0.95


def test_oracle_and_judge_are_two_models_that_mostly_agree(held_out: list[Review]) -> None:
    texts = [opening(review) for review in held_out]
    oracle, judge = (np.diff(Classifier(model).score(texts).reshape(-1, 2))[:, 0] for model in ("oracle", "judge"))
    assert 0.8 < np.mean((oracle > 0) == (judge > 0)) < 1.0


@settings(max_examples=60)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=6), st.sampled_from(MODELS))
def test_a_score_does_not_depend_on_the_batch(texts: list[str], model: str) -> None:
    classifier = Classifier(model)
    together = classifier.score(texts)
    assert together.tolist() == [float(classifier.score([text])[0]) for text in texts]
    assert np.isfinite(together).all()


@settings(max_examples=60)
@given(st.text(max_size=80), st.text(max_size=80), st.sampled_from(MODELS))
def test_swapping_what_is_shown_swaps_the_verdict_and_its_probability(first: str, second: str, model: str) -> None:
    classifier, asked = Classifier(model), comparison(first, second)
    one, other = (classifier.read(reply) for reply in classifier.ask([asked, asked.swap()]))
    assert one.verdict.unswap(False) is other.verdict.unswap(True)
    assert one.p_first is not None
    assert other.p_first is not None
    assert one.p_first + other.p_first == pytest.approx(1.0)


def test_equal_texts_are_a_tie(classifier: Classifier) -> None:
    assert verdict(classifier, comparison(GOOD, GOOD)) is Verdict.TIE


def test_the_request_holds_the_texts_as_shown_and_the_weights_checksum(classifier: Classifier) -> None:
    request = dict(classifier.request(Comparison(comparison("a", "b").pair, swapped=True, repeat=3)))
    model = str(request.pop("model"))
    assert request == {"provider": "apl-bench", "prompt": PROMPT, "first": "b", "second": "a", "repeat": 3}
    name, _, checksum = model.partition("@")
    assert name in ("classifier-judge", "classifier-oracle")
    assert len(checksum) == 12
    assert classifier.ask([comparison("a", "b")])[0].model == model


def test_a_reply_is_canonical_json_whose_pieces_add_up(classifier: Classifier) -> None:
    reply = classifier.ask([comparison(GOOD, " dull.")])[0]
    answer = json.loads(reply.raw)
    assert rfc8785.dumps(answer).decode() == reply.raw
    assert set(answer) == {"first", "second", "score_first", "score_second"}
    for place in ("first", "second"):
        pieces = answer[place]
        total = pieces["sentiment"] - pieces["repetition"] - pieces["brokenness"]
        assert answer[f"score_{place}"] == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize(
    ("raw", "expected", "p_first"),
    [
        ('{"score_first": 1.5, "score_second": 0.5}', Verdict.FIRST, 1 / (1 + math.exp(-1))),
        ('{"score_first": -2, "score_second": 0}', Verdict.SECOND, 1 / (1 + math.exp(2))),
        ('{"score_first": 0.25, "score_second": 0.25}', Verdict.TIE, 0.5),
    ],
)
def test_a_reading_is_the_sign_and_the_sigmoid_of_the_difference(raw: str, expected: Verdict, p_first: float) -> None:
    reading = Classifier("judge").read(Reply(raw, "m"))
    assert reading.verdict is expected
    assert reading.p_first == pytest.approx(p_first)


@pytest.mark.parametrize(
    "raw",
    [
        "", "A", "Preferred: A", "[1, 2]", "null", "{", "[" * 100_000, '{"score_first": 1}',
        '{"score_first": "2", "score_second": 1}', '{"score_first": true, "score_second": 0}',
        '{"score_first": NaN, "score_second": 0}', '{"score_first": Infinity, "score_second": 0}',
        '{"score_first": 1e999, "score_second": 0}', '{"score_first": 1' + "0" * 400 + ', "score_second": 0}',
        '{"score_first": 1' + "0" * 5000 + ', "score_second": 0}',
        '{"score_first": 2, "score_second": 1, "score_first": 0}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_invalid_and_nothing_else(raw: str) -> None:
    reading = Classifier("judge").read(Reply(raw, "m"))
    assert reading.verdict is Verdict.INVALID
    assert reading.p_first is None


def test_a_reply_that_did_not_come_through_is_invalid() -> None:
    reply = Reply('{"score_first": 1.5, "score_second": 0.5}', "m", outcome="truncated")
    assert Classifier("judge").read(reply).verdict is Verdict.INVALID


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"no classifier model called 'juge'\. Did you mean 'judge'"):
        Classifier("juge")
