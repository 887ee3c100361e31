"""The TLDR task: which posts become prompts, what a prompt looks like, and that the splits stay apart."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.checks import check_task
from apl_bench.protocols import Split
from apl_bench.registry import TASKS
from apl_bench.tasks.posts import HUB, HUB_REVISION, LINES, SAMPLE, Post, published
from apl_bench.tasks.sources import FileSource, HubSource
from apl_bench.tasks.tldr import Tldr, _deal
from apl_bench.types import LengthBounds, Prompt, SpecError
from tests.fakes import FakeTokenizer

EXAMPLE_DATA = Path(__file__).parents[2] / "shared" / "data" / "tldr.jsonl.gz"
PAPER_COUNTS = {"train": 20_567, "test": 1_159}  # section 4 of the paper

ROW: dict[str, Any] = {
    "subreddit": "cats", "title": "Is my cat a genius?", "post": "She opens doors. " + "So far nine of them. " * 9,
    "summary": "My cat opens doors.", "split": "train", "id": "a",
}  # fmt: skip
HEADINGS = len("SUBREDDIT: r/cats\nTITLE: Is my cat a genius?\nPOST: \nTL;DR: ")


def row(**changes: Any) -> dict[str, Any]:
    return {**ROW, **changes}


def body(num_characters: int) -> str:
    """A post's body with which the whole published prompt has this many characters."""
    return "x" * (num_characters - HEADINGS)


def task(tmp_path: Path, *rows: dict[str, Any]) -> Tldr:
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return Tldr("file", path=str(path))


def prompts(tldr: Tldr, split: Split) -> list[Prompt]:
    return list(tldr.prompts(split, FakeTokenizer()))


def text_id(text: str) -> str:
    return f"tldr-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def test_a_prompt_is_the_papers_and_the_summary_begins_with_its_space(tmp_path: Path) -> None:
    body = "Two cats.\n\nThey fight, and I have tried everything: " + "toys, food, patience; " * 8
    (prompt,) = prompts(task(tmp_path, row(title="Help!", post=body, summary=" Cats fight. \n")), "train")
    assert prompt.text == f"SUBREDDIT: r/cats\nTITLE: Help!\nPOST: {body}\nTL;DR:"
    assert prompt.human_completion == " Cats fight."
    assert prompt.id == text_id(prompt.text)


@pytest.mark.parametrize(("num", "kept"), [(200, False), (201, True), (999, True), (1000, False)])
def test_characters_are_those_of_the_whole_published_prompt(tmp_path: Path, num: int, kept: bool) -> None:
    tldr = task(tmp_path, row(post=body(num)))
    found = prompts(tldr, "train")
    assert len(found) == kept
    # the space behind TL;DR: is counted, and then stripped
    assert all(len(prompt.text) == num - 1 for prompt in found)
    assert sum(tldr.dealt.num_dropped.values()) == 1 - kept
    assert tldr.dealt.num_dropped["short" if num == 200 else "long"] == 1 - kept


@pytest.mark.parametrize(("subreddit", "kept"), [
    ("offmychest", False), ("tifu", False), ("TIFU", False), ("tifu_", True), ("OffMyChests", True),
])  # fmt: skip
def test_two_subreddits_are_out_in_any_case(tmp_path: Path, subreddit: str, kept: bool) -> None:
    tldr = task(tmp_path, row(subreddit=subreddit))
    assert len(prompts(tldr, "train")) == kept
    assert tldr.dealt.num_dropped["excluded_subreddit"] == 1 - kept


def test_a_post_in_both_splits_is_a_test_post_whatever_its_title(tmp_path: Path) -> None:
    own = row(post="Another one. " * 20)
    tldr = task(tmp_path, row(), row(title="The same again"), own, row(split="test"))
    assert [prompt.text for prompt in prompts(tldr, "test")] == [published("cats", ROW["title"], ROW["post"])[:-1]]
    assert [prompt.text for prompt in prompts(tldr, "train")] == [published("cats", ROW["title"], own["post"])[:-1]]
    assert tldr.dealt.num_dropped["post_in_test"] == 2


def test_a_test_post_that_the_paper_leaves_out_takes_nothing_from_training(tmp_path: Path) -> None:
    tldr = task(tmp_path, row(), row(split="test", title="t" * 900))
    assert len(prompts(tldr, "train")) == 1


def test_of_a_repeated_prompt_one_stays_whatever_the_order(tmp_path: Path) -> None:
    rows = [row(summary="B is here."), row(summary="A was here.")]
    for order in (rows, rows[::-1]):
        tldr = task(tmp_path, *order)
        assert [prompt.human_completion for prompt in prompts(tldr, "train")] == [" A was here."]
        assert tldr.dealt.num_dropped["repeated_prompt"] == 1


def posts() -> st.SearchStrategy[list[Post]]:
    """Posts of few different bodies and lengths, so that all that can happen to one happens."""

    def post(subreddit: str, letter: str, num: int, summary: str, split: Split) -> Post:
        text = letter * num
        return Post(published(subreddit, "t", text), subreddit, text, summary, split)

    splits: st.SearchStrategy[Split] = st.sampled_from(["train", "test"])
    parts = (st.sampled_from(["cats", "tifu"]), st.sampled_from("ab"), st.sampled_from([10, 300, 301, 2000]))
    return st.lists(st.builds(post, *parts, st.sampled_from(["", "s", "t"]), splits))


@given(posts())
def test_every_post_is_a_prompt_or_counted_and_splits_share_no_text(rows: list[Post]) -> None:
    dealt = _deal(rows)
    assert len(dealt.train) + len(dealt.test) + sum(dealt.num_dropped.values()) == len(rows)
    assert not {prompt.text for prompt in dealt.train} & {prompt.text for prompt in dealt.test}
    for split in (dealt.train, dealt.test):
        assert [prompt.id for prompt in split] == sorted({text_id(prompt.text) for prompt in split})
    assert all(prompt.human_completion in (" s", " t") for prompt in (*dealt.train, *dealt.test))
    assert _deal(rows[::-1]) == dealt


def test_lengths_are_1_to_128_and_the_opponent_is_human(tmp_path: Path) -> None:
    tldr = task(tmp_path, row())
    assert tldr.bounds(prompts(tldr, "train")[0]) == LengthBounds(1, 128)
    assert (tldr.opponent, tldr.template) == ("human", "paper-summary-v1")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"subreddit": "r/cats and dogs"}, "subreddit is 'r/cats and dogs'; expected a name without r/ and without"),
        ({"subreddit": ""}, "subreddit is ''; expected a text"),
        ({"title": None}, "title is None; expected a text"),
        ({"post": 3}, "post is 3; expected a text"),
        ({"post": "half \ud83d"}, r"post is 'half \ud83d'; expected a text"),
        ({"summary": " \n"}, r"summary is ' \n'; expected a text"),
        ({"split": "valid"}, "split is 'valid'; expected train or test"),
        ({"id": 7}, "id is 7; expected a text"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, changes: Any, expected: str, pack: Any) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_bytes(pack("".join(json.dumps(each) + "\n" for each in (row(), row(**changes), row())).encode()))
    with pytest.raises(SpecError) as caught:
        FileSource(path, None, LINES).rows()
    assert f"posts.jsonl' has 1 broken row: line 2: {expected}" in str(caught.value)


def test_a_file_without_posts_or_without_a_place_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"has no rows; .* with subreddit, title, post, summary and split"):
        task(tmp_path).prompts("train", FakeTokenizer())
    with pytest.raises(SpecError, match=r"no file at .*, or use --set task\.source=sample"):
        Tldr("file", path=str(tmp_path / "nowhere")).prompts("train", FakeTokenizer())


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"source": "smaple"}, r"no task\.source called 'smaple'. Did you mean 'sample'\?"),
        ({"source": True}, r"task\.source is True; expected sample or file or hub"),
        ({"source": "sample", "path": "x"}, r"task\.path is 'x'; expected nothing, as .* 'sample' takes no setting"),
        ({"source": "file"}, r"task\.path is None; expected the file to read"),
        ({"source": "hub", "revision": "main"}, rf"task\.revision is 'main'; .*task\.revision={HUB_REVISION}"),
        ({}, "the task 'tldr' needs a value for: source"),
        ({"source": "sample", "exclude_labelled": True}, r"no parameter of the task 'tldr' called 'exclude_labelled'"),
    ],
)
def test_settings_that_cannot_be_are_refused(params: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        TASKS.create("tldr", params)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="split is 'valid'; expected train or test"):
        task(tmp_path, row()).prompts("valid", FakeTokenizer())  # type: ignore[arg-type]


def hub_folder(cache: Path, records: Sequence[tuple[Split, str, str]]) -> None:
    """The hub's cache as it is after a download, with these (split, prompt, label) in the two files."""
    from pyarrow import Table, parquet

    folder = cache / "datasets--CarperAI--openai_summarize_tldr" / "snapshots" / HUB_REVISION
    for split, name in HUB.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        own = [record for record in records if record[0] == split]
        columns = {"prompt": [prompt for _, prompt, _ in own], "label": [label for *_, label in own]}
        parquet.write_table(Table.from_pydict(columns), folder / name)


def test_the_hub_and_a_file_of_the_same_posts_give_the_same_prompts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    rows = [row(), row(split="test", title="Help", post="Lines\n\nand lines. " * 30), row(split="test"),
            row(subreddit="tifu"), row(post="short"), row(post=body(1000)), row(post=body(999))]  # fmt: skip
    hub_folder(tmp_path, [
        (each["split"], f"SUBREDDIT: r/{each['subreddit']}\nTITLE: {each['title']}\nPOST: {each['post']}\nTL;DR: ",
         each["summary"]) for each in rows
    ])  # fmt: skip
    hub, file = Tldr("hub", revision=HUB_REVISION), task(tmp_path, *rows)
    assert hub.dealt == file.dealt
    assert hub.dealt.num_passed == {"train": 2, "test": 2}
    assert hub.identity() == {
        "dataset": "tldr", "source": "hub", "repository": "CarperAI/openai_summarize_tldr", "revision": HUB_REVISION,
    }  # fmt: skip


def test_a_hub_record_of_another_form_is_named_and_one_without_a_summary_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    good = published("cats", "t", "A post. " * 30)
    hub_folder(tmp_path, [("train", good, " "), ("test", good, "A summary.")])
    assert Tldr("hub", revision=HUB_REVISION).dealt.num_dropped["no_summary"] == 1
    hub_folder(tmp_path, [("train", good, "A summary."), ("train", "TITLE: none", "A summary.")])
    with pytest.raises(SpecError, match=r"split train, 1 broken row: row 2: prompt is 'TITLE: none'; .* SUBREDDIT: r/"):
        HubSource(HUB, HUB_REVISION).rows()


def test_a_hub_out_of_reach_says_how_to_provide_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    expected = f"hf download --repo-type dataset CarperAI/openai_summarize_tldr --revision {HUB_REVISION}"
    with pytest.raises(SpecError, match=expected):
        Tldr("hub", revision=HUB_REVISION).prompts("train", FakeTokenizer())


def test_the_papers_counts_on_the_hubs_dataset() -> None:
    from huggingface_hub import try_to_load_from_cache

    for name in HUB.files.values():
        if not isinstance(
            try_to_load_from_cache(HUB.repository, name, revision=HUB_REVISION, repo_type="dataset"), str
        ):
            pytest.skip(f"{HUB.repository} is not in the hub's local cache")
    assert Tldr("hub", revision=HUB_REVISION).dealt.num_passed == PAPER_COUNTS


def test_the_sample_ships_and_keeps_the_contract() -> None:
    tldr = TASKS.create("tldr", {"source": "sample"})
    assert isinstance(tldr, Tldr)
    assert check_task(tldr) == []
    # every one of its posts is a prompt: none is too short, too long, repeated or in both splits
    assert sum(tldr.dealt.num_dropped.values()) == 0
    num_train, num_test = len(tldr.dealt.train), len(tldr.dealt.test)
    assert num_train + num_test >= 200
    assert 0.25 < num_test / (num_train + num_test) < 0.42
    assert tldr.identity()["file"] == SAMPLE


@pytest.mark.skipif(not EXAMPLE_DATA.exists(), reason="the example posts are not beside this checkout")
def test_the_example_file() -> None:
    tldr = Tldr("file", path=str(EXAMPLE_DATA))
    dealt = tldr.dealt
    assert check_task(tldr) == []
    assert (len(dealt.train), len(dealt.test), dealt.num_dropped["long"], dealt.num_dropped["short"]) == (
        160,
        54,
        735,
        2,
    )
    assert len(dealt.train) + len(dealt.test) + sum(dealt.num_dropped.values()) == 951
    assert tldr.identity()["sha256"] == hashlib.sha256(EXAMPLE_DATA.read_bytes()).hexdigest()


def test_the_recipe_gives_the_sample_again(tmp_path: Path) -> None:
    tldr_sample = pytest.importorskip("recipes.tldr_sample", reason="the recipes are not beside these tests")
    shipped = Path(tldr_sample.__file__).parents[1] / "tasks" / "data" / SAMPLE
    rows = tldr_sample.read(shipped)
    tldr_sample.check(rows)
    tldr_sample.write(tldr_sample.dealt(rows[::-1]), tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == shipped.read_bytes()
