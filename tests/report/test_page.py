"""The page: what it holds, what it lets nobody do, and when there is none."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from apl_bench.cli.main import main
from apl_bench.records import Run, find_runs
from apl_bench.report import page as page_module
from apl_bench.report.page import ReportOptions, write_report
from apl_bench.types import SpecError
from tests.report.recorded import write_run

pytest.importorskip("matplotlib")

HOSTILE = (
    "</script><script>window.owned = 1</script>\"'><img src=x onerror=window.owned=1> &amp; "
    "\u202eelif\u202c\x1b[31m {{ 7 * 7 }}"
)


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text of the elements that hold data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "h2": [], "h4": [], "option": []}
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.texts:
            self._inside = tag
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside][-1] += data

    def policy(self) -> str:
        (found,) = (attrs for tag, attrs in self.tags if attrs.get("http-equiv") == "Content-Security-Policy")
        return str(found["content"])


def report(folder: Path, *names: str, seeds: int = 2, **options: Any) -> str:
    runs = [Run(write_run(folder / "runs", name, seed)) for name in names for seed in range(seeds)]
    return write_report(runs, folder / "out", ReportOptions(has_files=False, **options)).read_text()


def data_of(html: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in Elements(html).texts["script"][:-1]]


def test_a_report_has_its_parts(tmp_path: Path) -> None:
    html = report(tmp_path, "certainty", "random", title="Two strategies")
    found = Elements(html)
    assert "<title>Two strategies</title>" in html
    assert found.texts["h2"] == ["imdb-lite", "How to read this"]
    headings = {"Learning curves", "Difference from random", "Win rate against KL", "Win rate against compute",
                "What was bought, step by step", "Where the time went"}  # fmt: skip
    assert headings <= set(found.texts["h4"])
    assert not any("dollars" in text for text in found.texts["h4"])  # nobody was paid
    assert "intervals of 95 % over seeds and test prompts (two-way), each for its own waypoint" in html
    assert "Differences from random at equal KL" in html
    assert "over test prompts alone" in report(tmp_path / "one", "random", seeds=1)
    (data,) = data_of(html)
    assert data["strategies"] == ["certainty", "random"]
    assert len(data["pairs"]) == 64
    assert html.count('<article class="pair">') == 4  # without scripts: a label and a test comparison of each strategy


def test_dollars_have_their_figures_where_there_are_dollars(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    runs = [Run(write_run(tmp_path / "runs", "random", seed, usage=usage)) for seed in (0, 1)]
    html = write_report(runs, tmp_path, ReportOptions(has_files=False)).read_text()
    assert "Win rate against dollars for labels<" in html
    assert "Win rate against dollars for labels and judging" in html
    assert "$0.0096" in html  # eight labels


def test_only_its_own_style_and_script_are_allowed_and_nothing_is_fetched(tmp_path: Path) -> None:
    found = Elements(report(tmp_path, "random"))
    policy = dict(part.strip().split(" ", 1) for part in found.policy().split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    for name, text in (("style", found.texts["style"]), ("script", found.texts["script"][-1:])):
        assert len(text) == 1
        digest = base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()
        assert policy[f"{name}-src"] == f"'sha256-{digest}'"
    assert set(policy) == {"default-src", "base-uri", "form-action", "style-src", "script-src"}
    allowed = {"class", "id", "href", "content", "charset", "name", "http-equiv", "lang"}
    for tag, attrs in found.tags:
        assert not any(name.startswith("on") or name in ("style", "src", "srcset", "action") for name in attrs), tag
        for name, value in attrs.items():
            assert name in allowed or "://" not in str(value), (tag, name, value)
        if "href" in attrs:
            assert str(attrs["href"]).startswith("#"), (tag, attrs)
    assert not {tag for tag, _ in found.tags} & {"img", "iframe", "link", "object", "embed", "base", "audio", "video"}


def test_hostile_names_texts_and_replies_stay_text(tmp_path: Path) -> None:
    name = "evil<script>alert(1)</script>\u202e"
    runs = [Run(write_run(tmp_path / "runs", one, seed, text=lambda place: f"{HOSTILE} {place}",
                          reply=lambda place: f"{HOSTILE} {place}", versions={"x": HOSTILE},
                          params={"note": HOSTILE}))
            for one in ("random", name) for seed in (0, 1)]  # fmt: skip
    html = write_report(runs, tmp_path / "out", ReportOptions(title=HOSTILE)).read_text()
    found = Elements(html)
    assert len([tag for tag, _ in found.tags if tag == "script"]) == 2
    assert not {tag for tag, _ in found.tags} & {"img"}
    for hidden in "\u202e\u202c\x1b":
        assert hidden not in html
    assert "[U+202E]" in html
    assert '<span class="mark">U+202E</span>' in html
    (data,) = data_of(html)
    first = data["pairs"][0]["first"]
    assert first[0] == HOSTILE.partition("\u202e")[0]
    assert first[1::2] == ["U+202E", "U+202C", "U+001B"]
    raw = found.texts["script"][0]
    assert not set("<>&") & set(raw)
    # nothing leads out of the folder, whatever a strategy is called
    assert {file.parent.parent for file in (tmp_path / "out" / "figures").rglob("*.png")} == {
        tmp_path / "out" / "figures"
    }


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    runs = [Run(write_run(tmp_path / "runs", name, seed)) for name in ("random", "certainty") for seed in (0, 1)]
    one, other = (write_report(runs, tmp_path / name, ReportOptions()) for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
    files = sorted(file.relative_to(tmp_path / "one") for file in (tmp_path / "one").rglob("*.*"))
    assert Path("figures/imdb-lite/curves.svg") in files
    assert Path("figures/imdb-lite/judges.png") in files
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes(), file


def test_runs_of_other_settings_are_a_section_of_their_own(tmp_path: Path) -> None:
    for epochs in (1, 2):
        for seed in (0, 1):
            write_run(tmp_path / "runs", "random", seed, epochs=epochs)
    html = write_report(find_runs([tmp_path]), tmp_path / "out", ReportOptions(num_pairs=10)).read_text()
    assert Elements(html).texts["h2"][:2] == ["imdb-lite (training.epochs=1)", "imdb-lite (training.epochs=2)"]
    assert [len(data["pairs"]) for data in data_of(html)] == [5, 5]
    names = [str(attrs["id"]) for _, attrs in Elements(html).tags if "id" in attrs]
    assert len(names) == len(set(names))
    assert len(list((tmp_path / "out" / "figures").iterdir())) == 2


def test_unfinished_runs_are_named_and_none_complete_is_an_error(tmp_path: Path) -> None:
    unfinished = write_run(tmp_path / "runs", "certainty", 3, complete=False)
    with pytest.raises(SpecError, match="none of the 1 runs is complete"):
        write_report(find_runs([tmp_path]), tmp_path / "out", ReportOptions())
    assert not (tmp_path / "out").exists()
    write_run(tmp_path / "runs", "random", 0)
    html = write_report(find_runs([tmp_path]), tmp_path / "out", ReportOptions()).read_text()
    assert f"Left out, because they are not complete: {unfinished.name}." in html


def test_the_page_has_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_PAIR_BYTES", 40_000)
    runs = [Run(write_run(tmp_path / "runs", "random", seed, text=lambda place: f"{'word ' * 400}{place}"))
            for seed in range(4)]  # fmt: skip
    options = ReportOptions(has_files=False)
    (data,) = data_of(write_report(runs, tmp_path / "out", options).read_text())
    assert 0 < len(json.dumps(data["pairs"], separators=(",", ":"))) <= 40_000 + 10
    assert len({pair["place"] for pair in data["pairs"]}) == 4  # still something of each step and waypoint
    (data,) = data_of(write_report(runs, tmp_path / "out", ReportOptions(num_pairs=30, has_files=False)).read_text())
    assert len(data["pairs"]) == 30  # who asks for a number gets it
    (data,) = data_of(write_report(runs, tmp_path / "out", ReportOptions(num_pairs=0, has_files=False)).read_text())
    assert data["pairs"] == []


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "find_spec", lambda _name: None)
    with pytest.raises(SpecError, match=r"pip install 'apl-bench\[plots\]'"):
        write_report([], tmp_path, ReportOptions())


def call(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_the_command_writes_the_page_and_the_figures(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "random", 0)
    unfinished = write_run(tmp_path / "runs", "certainty", 0, complete=False)
    done = call(tmp_path / "runs", "--out", tmp_path / "out", "--pairs", 3)
    assert done.exit_code == 0, done.output
    assert f"left out, not complete: {unfinished}" in done.stderr
    assert re.match(rf"report: {tmp_path}/out/report.html \(0\.\d MB\)\nfigures: {tmp_path}/out/figures\n", done.stdout)
    assert call(tmp_path / "runs", "--out", tmp_path / "bare", "--no-figures").exit_code == 0
    assert [file.name for file in (tmp_path / "bare").iterdir()] == ["report.html"]


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "random", 0, complete=False)
    done = call(tmp_path / "runs", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "none of the 1 runs is complete" in done.stderr
    assert call(tmp_path / "runs", "--pairs", "-1").exit_code == 2
    with pytest.raises(SpecError, match="--pairs is -1; expected 0 or more"):
        ReportOptions(num_pairs=-1)
