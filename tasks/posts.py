"""Forum posts with their author's own summary, in the form of OpenAI's TL;DR dataset, and where they come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apl_bench.protocols import Split
from apl_bench.tasks.sources import (
    HubDataset,
    Kind,
    Lines,
    SampleSource,
    file_kind,
    hub_kind,
    shown,
    split_field,
    text_field,
)

SAMPLE = "tldr-sample.jsonl"
# All three parquet files are there as they are today; the one commit after it on `main` adds a README.
HUB_REVISION = "80e30a9d12e98de09639bc46ee50299b9e871d20"

_FIRST_LINE = re.compile(r"SUBREDDIT: r/(\S+)")
_BODY = "\nPOST: "


@dataclass(frozen=True, slots=True)
class Post:
    """A post as a prompt in its published form, which ends in a space; its subreddit and its body, which are also in
    the prompt; the summary, without white space around it; and the split that it belongs to in its source.
    """

    prompt: str
    subreddit: str
    body: str
    summary: str
    split: Split


def published(subreddit: str, title: str, body: str) -> str:
    """The prompt as the dataset CarperAI/openai_summarize_tldr writes it: one line break between the parts."""
    return f"SUBREDDIT: r/{subreddit}\nTITLE: {title}{_BODY}{body}\nTL;DR: "


def _parse(fields: Mapping[str, Any]) -> Post:
    """The post in a line of a file; `id`, where there is one, is a text, and other fields are not looked at."""
    subreddit, title, body, summary = (text_field(fields, name) for name in ("subreddit", "title", "post", "summary"))
    if not _FIRST_LINE.fullmatch(f"SUBREDDIT: r/{subreddit}"):
        raise ValueError(f"subreddit is {shown(fields, 'subreddit')}; expected a name without r/ and without spaces")
    split = split_field(fields)
    if "id" in fields:
        text_field(fields, "id")
    return Post(published(subreddit, title, body), subreddit, body, summary.strip(), split)


def _hub_post(record: Mapping[str, Any], split: Split) -> Post:
    """The post in a record of the dataset on the hub, whose prompt is taken as it is."""
    prompt, summary = record["prompt"], record["label"]
    first_line = _FIRST_LINE.match(prompt)
    if first_line is None:
        raise ValueError(f"prompt is {shown(record, 'prompt')}; expected it to begin with SUBREDDIT: r/NAME")
    _, _, body = prompt.partition(_BODY)
    return Post(prompt, first_line[1], body.removesuffix("TL;DR: ").rstrip() or prompt, summary.strip(), split)


LINES = Lines("subreddit, title, post, summary and split", _parse, "sample")
HUB = HubDataset(
    "CarperAI/openai_summarize_tldr",
    HUB_REVISION,
    {
        "train": "data/train-00000-of-00001-e8c59e5cf7bce1c0.parquet",
        "test": "data/test-00000-of-00001-59ffb27399371eac.parquet",
    },
    ("prompt", "label"),
    _hub_post,
)
SOURCES: Mapping[str, Kind[Post]] = {
    "sample": Kind((), lambda _: SampleSource(SAMPLE, LINES)),
    "file": file_kind(LINES),
    "hub": hub_kind(HUB),
}
