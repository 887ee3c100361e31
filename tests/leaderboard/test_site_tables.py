"""leaderboard.json, CSV and Markdown, and what hostile names do to them: nothing."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from markdown_it import MarkdownIt

from apl_bench.benchmarks.made_submissions import Made, entry_of
from apl_bench.leaderboard.site.boards import boards
from apl_bench.leaderboard.site.columns import COLUMNS, Column, rank_text
from apl_bench.leaderboard.site.tables import escaped, plain_cell, to_csv, to_json, to_markdown

SMALL: dict[str, Any] = {"num_prompts": 60, "seeds": tuple(range(7))}  # fewer than six separate nobody
FORMULA = '=HYPERLINK("http://evil.example","x")'
NAME = "| a | b |\n[x](javascript:alert(1)) <img src=x onerror=alert(1)> \u202e\x1b[31m"
HOSTILE = Made(id="evil", name="<script>alert(1)</script>", submitter=FORMULA, skill={"random": 0.5, NAME: 0.8},
               **SMALL)  # fmt: skip
MISSING = Made(id="missing", skill={"random": 0.5, "mine": 0.7}, outcomes={"mine": ["x" * 60] * 7}, **SMALL)
FOUND = boards([entry_of(one) for one in (HOSTILE, MISSING)])
LINES = list(csv.DictReader(io.StringIO(to_csv(FOUND))))


def test_json_has_every_column_and_null_where_there_is_no_number() -> None:
    value = json.loads(to_json(FOUND, [entry_of(HOSTILE)]))
    (board,) = value["boards"]
    rows = [row for group in board["groups"] for row in group["rows"]]
    assert len(rows) == 4
    assert all(column.name in row for row in rows for column in COLUMNS)
    assert [row["tied_with"] for row in rows if row["rank"] == [1, 1]] == [[]]
    missing = next(row for row in rows if row["strategy"] == "mine")
    assert missing["win_rate"] is None
    assert missing["rank"] is None
    assert missing["unranked_because"]
    assert [control["name"] for control in board["controls"]] == ["null", "copy", "longest", "shuffled"]
    assert value["history"][0]["event"] == "added"


def test_json_and_csv_tell_what_was_not_reached_from_what_is_not_there() -> None:
    made = entry_of(Made(id="labels", skill={"random": 0.5, "ahead": 0.9, "behind": 0.2}, **SMALL))
    found = boards([made])
    (board,) = json.loads(to_json(found, [made]))["boards"]
    rows = {row["strategy"]: row for group in board["groups"] for row in group["rows"]}
    fields = [f"labels_saved{end}" for end in ("", "_low", "_high", "_censored")]
    assert [rows["ahead"][name] for name in fields] == [110.0, 57.0, 152.0, False]
    assert [rows["behind"][name] for name in fields] == [None, None, 31.0, True]
    assert [rows["random"][name] for name in fields] == [None, None, None, None]
    lines = {line["strategy"]: line for line in csv.DictReader(io.StringIO(to_csv(found)))}
    assert [lines["ahead"][name] for name in fields] == ["110.0", "57.0", "152.0", "false"]
    assert [lines["behind"][name] for name in fields] == ["", "", "31.0", "true"]
    assert [lines["random"][name] for name in fields] == ["", "", "", ""]
    assert rows["behind"]["labels_to_target_low"] == 481.0
    assert rows["behind"]["labels_to_target_high"] is None


def column_of(name: str) -> Column:
    return next(column for column in COLUMNS if column.name == name)


@pytest.mark.parametrize(
    ("found", "saved", "needed"),
    [
        ({"num_labels": 110.4, "interval": [57.0, 152.0], "censored": False}, "+110 (+57 to +152)", "110 (57 to 152)"),
        ({"num_labels": 3.0, "interval": [None, 31.0], "censored": False}, "+3 (<0 to +31)", "3 (>512 to 31)"),
        ({"num_labels": None, "interval": [None, 31.0], "censored": True}, "<0 (<0 to +31)", ">512 (>512 to 31)"),
        ({"num_labels": None, "interval": [None, None], "censored": True}, "<0", ">512"),
        ({"num_labels": 7.0, "interval": [None, None], "censored": False}, "+7", "7"),
        (None, "-", "-"),
    ],
)
def test_labels_are_shown_with_their_interval(found: dict[str, Any] | None, saved: str, needed: str) -> None:
    (board,) = FOUND
    row = replace(board.rows[0], found={**board.rows[0].found, "labels_saved": found, "labels_to_target": found})
    for name, text in (("labels_saved", saved), ("labels_to_target", needed)):
        column = column_of(name)
        assert f"{column.text(row)} {column.beside(row)}".rstrip() == text


def test_detectable_is_corrected_for_the_family_as_p_beside_it_is() -> None:
    row = FOUND[0].rows[0]
    difference = row.point["difference"]
    assert column_of("smallest_detectable_holm").value(row) == difference["smallest_detectable_holm"]
    assert difference["smallest_detectable_holm"] > difference["smallest_detectable"]
    assert [column.name for column in COLUMNS if column.title == "detectable"] == ["smallest_detectable_holm"]


def test_csv_agrees_with_the_boards() -> None:
    rows = [row for board in FOUND for row in board.rows]
    assert [line["submission"] for line in LINES] == [row.entry.id for row in rows]
    for line, row in zip(LINES, rows, strict=True):
        assert line["win_rate"] == ("" if row.point["win_rate"] is None else str(row.point["win_rate"]))
        assert line["rank_low"] == (str(row.rank[0]) if row.rank else "")


def test_csv_holds_no_formula_no_control_character_and_one_line_a_row() -> None:
    assert LINES[0]["submitter"] == f"'{FORMULA}"
    assert len(to_csv(FOUND).splitlines()) == 5
    assert not {"\u202e", "\x1b"} & set(to_csv(FOUND))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "\u200b=1"])
def test_what_a_spreadsheet_takes_for_a_formula_is_a_text(text: str) -> None:
    assert plain_cell(text).startswith("'")


def test_a_plain_text_stays_as_it_is() -> None:
    assert plain_cell("certainty(width=0.2)") == "certainty(width=0.2)"


def test_numbers_below_zero_are_numbers_and_no_texts() -> None:
    worse = Made(id="worse", skill={"random": 0.9, "mine": 0.5}, **SMALL)
    lines = csv.DictReader(io.StringIO(to_csv(boards([entry_of(worse)]))))
    assert any(float(line["difference"] or 0) < 0 for line in lines)


@pytest.mark.parametrize(
    "text",
    ["a|b", "[x](javascript:alert(1))", "<b>bold</b>", "`code`", "*a* _b_ ~~c~~", "# h", "![i](x)", "a\\|b", "&lt;",
     "1. x", "https://evil.example", "a@b.example"],
)  # fmt: skip
def test_markdown_shows_a_name_as_it_is(text: str) -> None:
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(f"| h |\n|---|\n| {escaped(text)} |\n")
    cell = html.split("<td>")[1].split("</td>")[0]
    assert "<" not in cell
    assert cell.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&") == text


def test_markdown_tables_keep_their_columns() -> None:
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(to_markdown(FOUND))
    assert html.count("<table>") == 1
    assert "<script" not in html
    assert "<img" not in html
    assert "<a " not in html
    rows = html.split("<tbody>")[1].split("</tbody>")[0].split("<tr>")[1:]
    assert len(rows) == 4
    assert len({row.count("<td") for row in rows}) == 1


def test_a_rank_is_an_interval_or_a_dash() -> None:
    (board,) = FOUND
    first = board.rows[0]
    assert rank_text(replace(first, rank=(2, 2))) == "2"
    assert rank_text(replace(first, rank=(2, 4))) == "2–4"  # noqa: RUF001
    assert rank_text(replace(first, rank=None)) == "-"
