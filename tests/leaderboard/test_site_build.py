"""The site as files: current or not, light, self-contained, and safe with hostile names."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from apl_bench.benchmarks.made_submissions import Made, entry_of, write
from apl_bench.leaderboard.site.build import INDEX_FILES, build, outdated
from apl_bench.leaderboard.site.card import MAX_LETTERS, card_html
from apl_bench.leaderboard.site.history import Event, append, read_history
from apl_bench.leaderboard.site.store import Store
from apl_bench.types import SpecError

SMALL: dict[str, Any] = {"num_prompts": 40, "seeds": (0, 1, 2)}
EVIL = "<script>window.owned=1</script>\"'><img src=x onerror=window.owned=1>{{ 7 * 7 }}\u202e\x1b[31m"
CARD = f"""# {EVIL}

[click](javascript:window.owned=1) [data](data:text/html,x) [web](https://example.org) ![picture](https://example.org/x.png)

<script>window.owned=1</script>

<img src=x onerror=window.owned=1>

</main></body><style>*{{display:none}}</style>

```
{EVIL}
```
"""
HOSTILE = Made(id="evil", name=EVIL[:100], submitter=EVIL[:200], note=EVIL, card=CARD,
               skill={"random": 0.5, EVIL[:100]: 0.8},
               events=(Event("2026-11-24", "evil", "audited", EVIL, EVIL),), **SMALL)  # fmt: skip
HONEST = Made(id="honest", skill={"random": 0.5, "mine": 0.9}, **SMALL)


def store_of(folder: Path, *made: Made) -> Store:
    store = Store.beside(folder / "leaderboard" / "submissions")
    store.submissions.mkdir(parents=True)
    for one in made:
        entry = entry_of(one)
        write(store, entry)
        for event in entry.events:
            append(store.history, event)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_of(tmp_path, HOSTILE, HONEST)


class Page(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.inside[self._open] = self.inside.get(self._open, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def pages(store: Store, out: Path) -> dict[str, Page]:
    return {name: Page(text) for name, text in build(store, out).items() if name.endswith(".html")}


def test_a_built_site_is_current_and_an_edited_one_is_not(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "site"
    build(store, out)
    assert outdated(store, out) == []
    for name in (*INDEX_FILES, "submissions/honest/index.html"):
        before = (out / name).read_text()
        (out / name).write_text(before.replace("0", "1", 1))
        assert outdated(store, out) == [f"{out / name} is not what the submissions make of it"]
        (out / name).unlink()
        assert outdated(store, out) == [f"{out / name} is missing"]
        (out / name).write_text(before)
    assert outdated(store, out) == []


def test_building_twice_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    assert build(store, tmp_path / "one") == build(store, tmp_path / "two")


def test_a_new_event_makes_the_site_outdated(store: Store, tmp_path: Path) -> None:
    build(store, tmp_path / "site")
    append(store.history, Event("2026-11-25", "honest", "retracted", "a mistake in the seeds"))
    assert outdated(store, tmp_path / "site")
    build(store, tmp_path / "site")
    assert "a mistake in the seeds" in (tmp_path / "site" / "index.html").read_text()


def test_pages_and_reports_of_what_is_gone_are_removed(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "site"
    (store.records / "honest" / "report.html").write_text("the report")
    build(store, out)
    assert (out / "submissions" / "honest" / "report.html").read_text() == "the report"
    assert 'href="report.html"' in (out / "submissions" / "honest" / "index.html").read_text()
    assert 'href="report.html"' not in (out / "submissions" / "evil" / "index.html").read_text()
    (store.records / "honest" / "report.html").unlink()
    assert any("report.html belongs to no submission" in line for line in outdated(store, out))
    build(store, out)
    assert not (out / "submissions" / "honest" / "report.html").exists()


def test_without_submissions_there_is_a_page_that_says_so(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    build(store, tmp_path / "site")
    assert "Nobody has submitted anything yet" in (tmp_path / "site" / "index.html").read_text()
    assert outdated(store, tmp_path / "site") == []


@pytest.mark.parametrize("name", ["verification.json", "outcomes.json"])
def test_a_submission_without_its_records_is_refused_with_the_command(store: Store, tmp_path: Path, name: str) -> None:
    (store.records / "honest" / name).unlink()
    with pytest.raises(SpecError, match="is missing; write it: apl-bench leaderboard record honest"):
        build(store, tmp_path / "site")


def test_records_of_another_state_of_the_submission_are_refused(store: Store, tmp_path: Path) -> None:
    (store.submissions / "honest" / "MANIFEST.json").write_text("{}")
    with pytest.raises(SpecError, match="another state of the submission; write it anew"):
        build(store, tmp_path / "site")


def test_a_folder_of_another_name_is_refused(store: Store, tmp_path: Path) -> None:
    for folder in (store.submissions, store.records):
        (folder / "honest").rename(folder / "other")
    with pytest.raises(SpecError, match="holds a submission of the id 'honest'; name the folder so"):
        build(store, tmp_path / "site")


def test_only_our_own_script_and_style_are_there_and_the_policy_names_them(store: Store, tmp_path: Path) -> None:
    for name, page in pages(store, tmp_path / "site").items():
        is_index = name == "index.html"
        assert len(page.all("style")) == 1
        assert len(page.all("script")) == int(is_index)
        (policy,) = [
            meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policy is not None
        allowed = set(re.findall(r"'(sha256-[^']+)'", policy))
        code = [page.inside[tag] for tag in ("style", *(["script"] if is_index else []))]
        assert allowed == {
            "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code
        }
        assert policy.startswith("default-src 'none'; style-src ")
        assert "unsafe" not in policy
        assert ("script-src 'none'" in policy) != is_index


def test_pages_load_nothing_and_run_nothing_that_others_wrote(store: Store, tmp_path: Path) -> None:
    for page in pages(store, tmp_path / "site").values():
        for tag, attributes in page.elements:
            assert tag not in ("img", "link", "iframe", "object", "embed", "video", "audio", "base")
            assert not [key for key in attributes if key.startswith("on") or key in ("style", "src", "srcset")]
            href = attributes.get("href") or "#"
            assert href.startswith(
                ("#", "submissions/", "leaderboard.", "../../index.html", "report.html", "https://example.org")
            )
        text = "".join(page.inside.values())
        assert "49" not in page.inside.get("h1", "")
        assert not {"\u202e", "\x1b"} & set(text)


def test_a_card_is_text_whatever_it_says() -> None:
    html = card_html(CARD)
    page = Page(html)
    assert {tag for tag, _ in page.elements} <= {"h3", "p", "a", "pre", "code", "em", "strong"}
    assert [link["href"] for link in page.all("a")] == ["https://example.org", "https://example.org/x.png"]
    assert "noopener" in str(page.all("a")[0]["rel"])
    assert "&lt;script&gt;" in html


def test_a_card_has_headings_below_the_page_s_own_lists_and_tables() -> None:
    html = card_html("# One\n\n###### Six\n\n- a\n- b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n")
    for part in ("<h3>One</h3>", "<h6>Six</h6>", "<li>a</li>", "<td>1</td>"):
        assert part in html


def test_a_card_of_many_letters_is_cut_and_says_so() -> None:
    html = card_html("word " * MAX_LETTERS)
    assert "longer than" in html
    assert len(html) < MAX_LETTERS + 200


def test_fifty_submissions_stay_below_a_megabyte(tmp_path: Path) -> None:
    skill = {"random": 0.5, "mine": 0.6, "b": 0.6, "c": 0.61}  # many ties
    made = [Made(id=f"s-{number:02}", submitter=f"Group {number}", skill=skill, preset=f"preset-{number % 2}",
                 **SMALL) for number in range(50)]  # fmt: skip
    files = build(store_of(tmp_path, *made), tmp_path / "site")
    assert sum(len(files[name].encode()) for name in INDEX_FILES) < 10**6
    assert max(len(text.encode()) for text in files.values()) < 10**6


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"date": "2026-11-21", "id": "a", "event": "praised"}', "no event called 'praised'"),
        ('{"date": "21.11.2026", "id": "a", "event": "added"}', "is no date"),
        ('{"date": "2026-11-21", "id": "a", "event": "retracted"}', "expected a reason"),
        ('{"date": "2026-11-21", "id": "a", "event": "replaced", "why": "newer"}', "the submission that replaces it"),
        ('{"date": "2026-11-21", "id": "a", "event": "audited", "why": "asked again"}', "expected who did that"),
        ('{"date": "2026-11-21", "id": "a", "event": "added", "odd": "x"}', "expected texts called"),
        ('{"date": "2026-11-21", "id": 7, "event": "added"}', "expected texts called"),
        ('{"date": "2026-11-21", "event": "added"}', "missing"),
    ],
)
def test_a_wrong_event_is_named_by_its_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "history.jsonl"
    append(path, Event("2026-11-21", "a", "added"))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(SpecError, match=f"history.jsonl:2.*{re.escape(says)}"):
        read_history(path)


@pytest.mark.parametrize(
    "event", [Event("2026-11-25", "nobody", "added"), Event("2026-11-25", "honest", "replaced", "x", "nobody")]
)
def test_an_event_of_an_unknown_submission_is_refused(store: Store, tmp_path: Path, event: Event) -> None:
    append(store.history, event)
    with pytest.raises(SpecError, match="there is no submission nobody"):
        build(store, tmp_path / "site")


def test_a_reproduction_and_flags_are_said_on_the_page(tmp_path: Path) -> None:
    newer = replace(HONEST, id="newer", created="2026-11-22T12:00:00+00:00")
    store = store_of(tmp_path, HONEST, newer)
    verification = store.records / "newer" / "verification.json"
    value = json.loads(verification.read_text())
    value["flags"] = [{"code": "V401", "sentence": "replies <b>repeat</b>", "place": "runs/x", "remedy": "look"}]
    verification.write_text(json.dumps(value))
    build(store, tmp_path / "site")
    page = (tmp_path / "site" / "submissions" / "newer" / "index.html").read_text()
    assert "reproduces <bdi>honest</bdi>" in page
    assert "V401" in page
    assert "replies &lt;b&gt;repeat&lt;/b&gt;" in page
