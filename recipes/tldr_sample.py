"""The sample of posts that ships for the TLDR task: merge, check, deal into splits, write.

    python -m recipes.tldr_sample tasks/data/tldr-sample.jsonl PART.jsonl... --out tasks/data/tldr-sample.jsonl

A part is JSONL with `subreddit`, `title`, `post` and `summary`; the file that ships is one, and alone gives itself
again, byte for byte. Ids, order and splits are hashes of the prompt's text, so a new post moves no other. A post that
the task's filters would leave out is left out here, and told; anything else that is wrong with one stops the recipe.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apl_bench.tasks.posts import published
from apl_bench.tasks.tldr import EXCLUDED, NUM_CHARACTERS

FIELDS = ("subreddit", "title", "post", "summary")
TEST_SHARE = 1 / 3
NUM_SHARED_WORDS = 8  # no two posts have so many words in a row in common
SUMMARY_CHARACTERS = range(20, 300)

_REAL_PLACES = re.compile(r"https?://|www\.|\S@\S+\.\w|/?\bu/\w|\+?\d[\d -]{8,}\d")  # addresses, users, telephones
_WORD = re.compile(r"\w+")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args()
    rows = [post for path in arguments.parts for post in read(path)]
    kept = [post for post in rows if _passes(post)]
    check(kept)
    write(dealt(kept), arguments.out)
    print(f"{len(rows)} posts, {len(rows) - len(kept)} left out by the task's filters; {len(kept)} written")
    report(kept)


def read(path: Path) -> list[dict[str, str]]:
    """The four fields of each line, without white space around them."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [{name: str(json.loads(line)[name]).strip() for name in FIELDS} for line in lines]


def dealt(posts: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """The rows as they ship, in the order of their ids, which are hashes: shuffled, and always the same."""
    return sorted(({"id": _digest(post)[:12], "split": _split(post), **post} for post in posts), key=lambda r: r["id"])


def check(posts: Sequence[dict[str, str]]) -> None:
    """Stop with a sentence for each post that should not ship."""
    wrong = [f"{post['title']!r}: {reason}" for post in posts for reason in _faults(post)]
    for name in ("title", "post", "summary"):
        counts = Counter(post[name] for post in posts)
        wrong += [f"{text!r}: a {name} of {num} posts" for text, num in counts.items() if num > 1]
    owner: dict[tuple[str, ...], str] = {}
    for post in posts:
        words = _WORD.findall(post["post"].lower())
        for run in {tuple(words[i : i + NUM_SHARED_WORDS]) for i in range(len(words) - NUM_SHARED_WORDS + 1)}:
            if owner.setdefault(run, post["title"]) != post["title"]:
                wrong.append(f"{post['title']!r} and {owner[run]!r} share {' '.join(run)!r}")
    if wrong:
        raise SystemExit("\n".join(wrong))


def write(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """One JSON object a line, by way of a temporary file."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    os.replace(temporary, path)


def report(posts: Sequence[dict[str, str]]) -> None:
    """What tasks/data/README.md says of the composition."""
    for name, texts in (
        ("prompt", [published(post["subreddit"], post["title"], post["post"]) for post in posts]),
        ("summary", [post["summary"] for post in posts]),
    ):
        sizes = sorted(map(len, texts))
        quartiles = [sizes[len(sizes) * quarter // 4] for quarter in (1, 2, 3)]
        print(f"{name}: {sizes[0]}-{sizes[-1]} characters, quartiles {quartiles}")
    print(Counter(_split(post) for post in posts))
    print(Counter(post["subreddit"] for post in posts).most_common())


def _passes(post: dict[str, str]) -> bool:
    num = len(published(post["subreddit"], post["title"], post["post"]))
    return num in NUM_CHARACTERS and post["subreddit"].lower() not in EXCLUDED


def _faults(post: dict[str, str]) -> list[str]:
    faults = [f"no {name}" for name in FIELDS if not post[name]]
    if len(post["summary"]) not in SUMMARY_CHARACTERS or len(post["summary"]) > len(post["post"]) / 2:
        faults.append(f"a summary of {len(post['summary'])} characters for {len(post['post'])}")
    if "tl;dr" in (post["title"] + post["post"] + post["summary"]).lower():
        faults.append("TL;DR in its text")
    faults += [f"looks like an address: {found!r}" for found in _REAL_PLACES.findall(" ".join(post.values()))]
    return faults


def _digest(post: dict[str, str]) -> str:
    """sha256 of the text that the task's prompt id is made of."""
    text = published(post["subreddit"], post["title"], post["post"]).rstrip(" ")
    return hashlib.sha256(text.encode()).hexdigest()


def _split(post: dict[str, str]) -> str:
    """By other digits than the id's, so that a split is no stretch of the file."""
    return "test" if int(_digest(post)[12:28], 16) / 2**64 < TEST_SHARE else "train"


if __name__ == "__main__":
    main()
