"""The summary oracle: measures worked out by hand, what loses to a good summary, and how far it meets GPT-4."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from apl_bench.checks import check_oracle
from apl_bench.oracles import summary as module
from apl_bench.oracles import summary_measures as measures
from apl_bench.oracles.summary import MODELS, English, Score, Summary
from apl_bench.oracles.summary_measures import MEASURES, USUAL_CHARACTERS, USUAL_DISTINCT, Post
from apl_bench.registry import ORACLES
from apl_bench.types import Comparison, Completion, Pair, Prompt, Reply, SpecError, Verdict
from tests.fakes import FakeTask

VERDICTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "tldr.jsonl.gz"
TITLE = "My dog ate half a bar of dark chocolate, should I take her to the vet tonight?"
BODY = (
    "My father and I went out to dinner tonight and left our old dachshund at home with half a bar of dark chocolate "
    "on my desk. When I came back the wrapper was on the floor and the chocolate was gone. She is ten years old and "
    "weighs about 28 pounds. So far she is acting normal, but I read that dark chocolate is dangerous for small dogs. "
    "My father thinks I am overreacting and does not want to pay for the emergency clinic. Has anybody been in "
    "this situation? Should I call the vet or wait until the morning?"
)
PROMPT = f"SUBREDDIT: r/dogs TITLE: {TITLE} POST: {BODY} TL;DR:"
GOOD = (
    " My ten year old dachshund ate half a bar of dark chocolate while we were at dinner. She seems normal but my "
    "father does not want to pay for the emergency clinic. Should I call the vet tonight?"
)
KNOWN = sorted(word for word in English.shipped("oracle").vocabulary.ids if word.isalpha())


def shuffled(words: list[str], num: int, end: str = ".") -> str:
    return " " + " ".join(random.Random(0).sample(words, num)) + end


WORSE = {
    "nothing": "",
    "a space": " ",
    "one word 128 times": " chocolate" * 128,
    "one phrase again and again": " my dog ate chocolate" * 32,
    "itself three times": GOOD * 3,
    "the post's first sentence": " " + BODY.split(". ", maxsplit=1)[0] + ".",
    "the post's first 240 characters": " " + BODY[:240],
    "the whole post": " " + BODY,
    "the title": " " + TITLE,
    "random words": shuffled(KNOWN, 40),
    "the post's words in random order": shuffled(measures.lower_words(BODY), 35),
    "its own words in random order": shuffled(GOOD.split(), len(GOOD.split())),
    "a list of key words": " dachshund, chocolate, wrapper, father, vet, emergency clinic, 28 pounds, morning, desk.",
    "key words up to the usual length": " Dachshund, half a bar of dark chocolate, wrapper, father, dinner, floor, ten "
    "years old, 28 pounds, normal, dangerous, small dogs, overreacting, emergency clinic, situation, vet, morning.",
    "the words of the second half": " Weighs, acting normal, read dangerous small dogs, thinks overreacting, want pay, "
    "emergency clinic, anybody situation, call vet, wait morning, dinner, desk, wrapper, floor, pounds, father, years.",
    "pieces of the prompt": GOOD + " TL;DR: POST: TITLE:",
    "cut off in the middle": GOOD[:120],
    "another matter": " I have been working at a new job for three months and my boss keeps asking me to stay late "
    "without any pay. I want to quit but I need the money. What should I do about it?",
    "itself and every detail": GOOD
    + " My father and I went out and left her at home. The wrapper was on the floor. She "
    "weighs about 28 pounds and I read that it is dangerous for small dogs. He thinks I overreact. Should I wait?",
}


@pytest.fixture(scope="module", params=MODELS)
def oracle(request: pytest.FixtureRequest) -> Summary:
    return Summary(request.param)


def comparison(first: str, second: str, prompt: str = PROMPT, human: str | None = None) -> Comparison:
    sides = (Completion(text, (1,), finished=True) for text in (first, second))
    return Comparison(Pair(Prompt("p", prompt, human), *sides), swapped=False)


def verdict(oracle: Summary, asked: Comparison) -> Verdict:
    return oracle.read(oracle.ask([asked])[0]).verdict


@pytest.mark.parametrize("model", MODELS)
def test_it_keeps_the_contract(model: str) -> None:
    assert check_oracle(lambda: ORACLES.create("summary", {"model": model})) == []
    assert check_oracle(lambda: ORACLES.create("summary", {"model": model, "agreement_weight": 2})) == []
    assert ORACLES.entry("summary").summary == Summary.summary
    assert Summary.defaults(model, FakeTask) == {"model": model}


@pytest.mark.parametrize("name", WORSE)
def test_a_good_summary_beats_what_games_it_in_either_place(oracle: Summary, name: str) -> None:
    asked = comparison(GOOD, WORSE[name])
    assert verdict(oracle, asked) is Verdict.FIRST
    assert verdict(oracle, asked.swap()) is Verdict.SECOND


@pytest.mark.parametrize(
    ("prompt", "title", "body"),
    [
        (PROMPT, TITLE, BODY),
        ("SUBREDDIT: r/cats\nTITLE: A\nPOST: b\n\nPOST: c\nTL;DR: d\nTL;DR:", "A", "b\n\nPOST: c\nTL;DR: d"),
        ("POST: b TL;DR:", "", "b"),
        ("POST: b", "", "b"),
        ("I saw this film last week and", "", "I saw this film last week and"),
        ("", "", ""),
    ],
)
def test_a_prompt_is_read_as_title_and_body(prompt: str, title: str, body: str) -> None:
    assert Post.read(prompt) == Post(title, body)


@pytest.mark.parametrize(
    ("words", "stem"),
    [("ask asks asked asking", "ask"), ("run runs running", "run"), ("worry worries worried", "worry"),
     ("dog's dogs dog", "dog"), ("share shares shared sharing", "shar"), ("pass passes passed", "pass"),
     ("quick quickly", "quick"), ("us", "us"), ("bed", "bed"), ("a", "a")],
)  # fmt: skip
def test_endings_are_taken_off(words: str, stem: str) -> None:
    assert {measures.stem(word) for word in words.split()} == {stem}


def test_length_rises_to_the_usual_and_falls_as_fast() -> None:
    """Doubling a short one and halving a long one are worth the same; nothing beats USUAL_CHARACTERS."""
    half, usual, double = (
        measures.length("x" * num) for num in (USUAL_CHARACTERS // 2, USUAL_CHARACTERS, 2 * USUAL_CHARACTERS)
    )
    assert usual == 0
    assert half == pytest.approx(-math.log(2))
    assert double == pytest.approx(-math.log(2))
    assert measures.length(" ab  ") == pytest.approx(-math.log(USUAL_CHARACTERS / 2))
    assert measures.length("") == pytest.approx(-math.log(USUAL_CHARACTERS))


def test_substance_is_made_of_distinct_words() -> None:
    # 'the' and 'dog' have six characters, however often they are said
    assert measures.substance("The dog, the DOG!") == pytest.approx(-math.log(USUAL_DISTINCT / 6))


def test_measures_by_hand() -> None:
    """Stems: title dog, chocolat; body dog, ate, bar, dog, vet, so the second half is bar, dog, vet less the title."""
    post = Post("Dog and chocolate", "The dogs ate bars. Dog to the vet?")
    text = "My dog at the vet: help, help."
    weights = {
        "dog": math.log1p(3),
        "chocolat": math.log1p(1),
        "ate": math.log1p(1),
        "bar": math.log1p(1),
        "vet": math.log1p(1),
    }
    assert post.weights == weights
    assert post.later == {"bar", "vet"}
    # named: dog, vet
    assert measures.recall(post, text) == pytest.approx(
        math.log(8) / math.log(4 * 16)
    )  # log 4 + log 2 of log 4 + 4 log 2
    assert measures.later(post, text) == pytest.approx(math.sqrt(1 / 2))
    assert measures.later(post, "The dogs ate chocolate.") == 0  # its title and its first half
    assert measures.later(Post("", ""), text) == 0
    assert measures.support(post, text) == 2 / 4  # dog, vet of dog, vet, help, help
    # 'dog to the vet' stands in the body; the title and the body are not joined: chocolate the dogs
    assert measures.longest_copy(post, "So dog to the vet now") == 4
    assert measures.longest_copy(post, "chocolate the dogs ate") == 3
    assert measures.listing("My dog at the vet") == 2 / 5
    assert measures.listing("") == 0
    assert measures.longest_copy(post, "") == measures.longest_copy(post, "og et") == 0
    # said dog, vet, help x2; the person dog, help: both have dog and one help
    assert measures.agreement("The dog, help", text) == pytest.approx(2 * 2 / (4 + 2))
    assert measures.agreement("", "") == 0


def test_copied_words_are_not_its_own() -> None:
    """Runs of COPIED_RUN words count, shorter ones do not; phrases are runs of PHRASE."""
    post = Post("old ewe", "ant bee cat dog elk fox gnu hen ibis and so on")
    assert (measures.COPIED_RUN, measures.PHRASE) == (8, 6)
    assert measures.own_words(post, "ant bee cat dog elk fox gnu owl") == 1  # seven in a row
    assert measures.own_words(post, "owl Bee cat dog elk, fox gnu hen ibis! owl") == pytest.approx(2 / 10)
    assert measures.own_words(post, "ant bee cat dog elk fox gnu hen ibis") == 0  # two runs, of nine words together
    assert measures.own_words(post, "ewe ant bee cat dog elk fox gnu") == 1  # the title does not run on into the body
    assert measures.own_words(post, "") == measures.own_words(post, "?") == 0
    # 'owl bee ... fox' is its own, 'bee ... gnu' is not
    assert measures.own_phrases(post, "owl bee cat dog elk fox gnu") == 1 / 2
    assert measures.own_phrases(post, "owl owl owl owl owl owl") == 1
    assert measures.own_phrases(post, "owl owl owl owl owl") == 0  # too short to have one


@pytest.mark.parametrize(
    ("text", "slips"),
    [("I asked. It's fine.", 0), ("He said so (I'm sure)! 2 of us.", 0), ("", 0), (" i asked", 1), ('"my dog', 1),
     ("So i dont know", 2), ("Well... what\u2026", 2), ("U and I", 0), ("Should u go bc im ill", 3)],
)  # fmt: skip
def test_slips_are_counted(text: str, slips: int) -> None:
    assert measures.care(text) == pytest.approx(1 / (1 + slips))


@pytest.mark.parametrize(
    ("text", "markers", "unfinished"),
    [("It ended.", 0, 0), ("Did it?\" ", 0, 0), ("It (really!)", 0, 0), ("and then", 0, 1), ("and,", 0, 1), ("", 0, 1),
     ("tl;dr it ended.", 1, 0), ("Yes. TITLE: no POST: TLDR", 3, 1), ("Yes <|endoftext|> no.", 1, 0)],
)  # fmt: skip
def test_frame_and_end(text: str, markers: int, unfinished: int) -> None:
    assert (measures.num_markers(text), measures.unfinished(text)) == (markers, unfinished)


@pytest.mark.parametrize("model", MODELS)
def test_coefficients_are_gains_and_penalties_are_costs(model: str) -> None:
    table = json.loads((Path(module.__file__).parent / "data" / "summary.json").read_text())
    assert {"source", "licence"} < set(table)
    entry = table["models"][model]
    assert set(entry["coefficients"]) <= set(MEASURES)
    assert all(value >= 0 for value in entry["coefficients"].values())
    assert all(min(values) >= 0 and values[2] > 0 for values in entry["penalties"].values())


def test_oracle_and_judge_have_another_measure_of_length_and_other_digits() -> None:
    scores = [Summary(model).explain(PROMPT, GOOD) for model in ("oracle", "judge")]
    lengths = [{"length", "substance"} & set(score.pieces) for score in scores]
    assert lengths == [{"length"}, {"substance"}]
    assert scores[0].total != scores[1].total


@pytest.mark.parametrize(("model", "total"), [("oracle", 0.232169), ("judge", 0.759976)])
def test_the_shipped_digits_stand(model: str, total: float) -> None:
    """Other digits are another oracle, and the CHANGELOG says so."""
    assert Summary(model).explain(PROMPT, GOOD).total == total


TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from(
        ["dog", "vet", "help?", "POST:", "TITLE:", "TL;DR:", "chocolate", ".", "\x00", "\ud7ff", "", "'s", "|"]
    )
).map(" ".join)


@settings(max_examples=80)
@given(TEXTS, TEXTS, TEXTS, st.none() | TEXTS, st.sampled_from(MODELS), st.sampled_from([0.0, 1.5]))
def test_any_text_has_a_score_and_swapping_turns_the_answer_round(
    prompt: str, first: str, second: str, human: str | None, model: str, weight: float
) -> None:
    oracle, asked = Summary(model, weight), comparison(first, second, prompt, human)
    one, other = (oracle.read(reply) for reply in oracle.ask([asked, asked.swap()]))
    assert one.verdict.unswap(True) is other.verdict
    assert one.verdict is not Verdict.INVALID
    assert one.p_first is not None
    assert other.p_first is not None
    assert one.p_first == pytest.approx(1 - other.p_first, abs=2e-6)
    assert oracle.ask([asked]) == oracle.ask([asked, asked.swap()])[:1]


@settings(max_examples=60)
@given(TEXTS, TEXTS)
def test_measures_are_shares(prompt: str, text: str) -> None:
    post = Post.read(prompt)
    for name, measure in MEASURES.items():
        value = measure(post, text)
        assert math.isfinite(value)
        assert value <= 0 if name in ("length", "substance") else 0 <= value <= 1 + 1e-12


def test_equal_texts_are_a_tie(oracle: Summary) -> None:
    assert verdict(oracle, comparison(GOOD, GOOD)) is Verdict.TIE


def test_a_reply_is_canonical_json_whose_pieces_add_up(oracle: Summary) -> None:
    reply = oracle.ask([comparison(GOOD, " A dog.")])[0]
    answer = json.loads(reply.raw)
    assert rfc8785.dumps(answer).decode() == reply.raw
    for place in ("first", "second"):
        assert answer[f"score_{place}"] == pytest.approx(sum(answer[place].values()), abs=1e-6)
    difference = answer["score_first"] - answer["score_second"]
    assert oracle.read(reply).p_first == pytest.approx(1 / (1 + math.exp(-difference)), abs=1e-6)


def test_the_request_holds_the_texts_and_the_checksum_of_the_numbers(oracle: Summary) -> None:
    request = dict(oracle.request(comparison("a", "b", human="c")))
    name, _, checksum = str(request.pop("model")).partition("@")
    assert request == {"provider": "apl-bench", "prompt": PROMPT, "first": "a", "second": "b", "repeat": 0}
    assert name in ("summary-judge", "summary-oracle")
    assert str(oracle.identity()["weights_sha256"]).startswith(checksum)


HUMAN = " Dachshund ate dark chocolate; father refuses to pay the clinic. Call the vet?"
CLOSE = " Dachshund ate dark chocolate and father refuses to pay for the clinic, call the vet?"


def test_agreement_with_the_person_counts_where_it_is_asked_for() -> None:
    plain, agreeing = Summary("oracle"), Summary("oracle", agreement_weight=50)
    assert verdict(plain, comparison(GOOD, CLOSE, human=HUMAN)) is Verdict.FIRST
    assert verdict(agreeing, comparison(GOOD, CLOSE, human=HUMAN)) is Verdict.SECOND
    request = agreeing.request(comparison(GOOD, CLOSE, human=HUMAN))
    assert (request["human"], request["agreement_weight"]) == (HUMAN, 50)


def test_the_person_does_not_win_by_agreeing_with_itself() -> None:
    """Where the person's summary is the opponent, agreement says nothing: the verdict is that without it."""
    asked = comparison(GOOD, HUMAN.strip(), human=HUMAN)
    agreeing = Summary("judge", agreement_weight=50)
    assert agreeing.request(asked) == Summary("judge").request(asked)
    assert agreeing.ask([asked]) == Summary("judge").ask([asked])
    assert verdict(agreeing, asked) is Verdict.FIRST


def test_what_it_cannot_be_is_named() -> None:
    with pytest.raises(SpecError, match=r"no summary model called 'juge'\. Did you mean 'judge'"):
        Summary("juge")
    with pytest.raises(SpecError, match=r"agreement_weight is -1; expected a number from 0 to 100"):
        Summary("judge", -1)


@pytest.mark.parametrize(
    "raw", ["", "Preferred: A", "null", '{"score_first": 1}', '{"score_first": NaN, "score_second": 0}']
)
def test_what_cannot_be_read_is_invalid(oracle: Summary, raw: str) -> None:
    assert oracle.read(Reply(raw, "m")).verdict is Verdict.INVALID


def test_a_score_is_the_sum_of_its_pieces() -> None:
    assert Score({"length": -0.5, "recall": 0.2, "copying": -0.1}).total == -0.4


@pytest.mark.skipif(not VERDICTS.is_file(), reason="the verdicts of GPT-4 are not on this machine")
def test_its_agreement_with_gpt_4_is_what_the_docstring_says() -> None:
    """On the half that each was not fitted to; the cross-validated figures are printed by the recipe."""
    with gzip.open(VERDICTS, "rt") as file:
        rows = [row for row in map(json.loads, file) if row.get("gpt_preferred")]
    half = np.array([posts_half(row["post"]) for row in rows])
    won = np.where([row["gpt_preferred"] == "model" for row in rows], 1, -1)
    longer = np.sign([len(row["model_summary"]) - len(row["summary"]) for row in rows])
    assert (len(rows), f"{50 + 50 * np.mean(won):.1f}", f"{50 + 50 * np.mean(won * longer):.1f}") == (
        398,
        "63.3",
        "70.1",
    )
    preferred = {model: np.array([preference(Summary(model), row) for row in rows]) for model in MODELS}
    for model, other in (("oracle", 0), ("judge", 1)):
        met = 100 * np.mean(preferred[model][half == other] == won[half == other])
        assert f"{met:.1f} %" in str(module.__doc__)
    assert f"{100 * np.mean(preferred['oracle'] == preferred['judge']):.1f} %" in str(module.__doc__)


def posts_half(post: str) -> int:
    """1: the oracle was fitted to it; 0: the judge."""
    return hashlib.sha256(post.encode()).digest()[0] % 2


def preference(oracle: Summary, row: dict[str, str]) -> float:
    prompt = f"SUBREDDIT: r/{row['subreddit']} TITLE: {row['title']} POST: {row['post']} TL;DR:"
    scores = [oracle.explain(prompt, row[side]).total for side in ("model_summary", "summary")]
    return float(np.sign(scores[0] - scores[1]))
