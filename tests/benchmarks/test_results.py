"""What is made of the turns: ratios within a turn, tables and JSON that hold all of them."""

from __future__ import annotations

import json

from apl_bench.benchmarks.results import Facts, Race, Ratio, Report, heading_of

RACE = Race("step", "lite", "a step", {"ours": (1.0, 2.0, 4.0), "theirs": (3.0, 4.0, 20.0)})
FACTS = Facts("memory", "lite", "peak | memory", ("trained", "peak MB"), [["all", "12"]], profile="aten::mm")


def test_a_ratio_is_the_median_of_the_turns_own_ratios() -> None:
    assert RACE.ratio("theirs") == Ratio(3.0, 2.0, 5.0)  # 3, 2, 5; of the medians it would be 2
    assert RACE.ratio("ours") == Ratio(1.0, 1.0, 1.0)
    assert list(RACE.ratios) == ["theirs"]
    assert RACE.rows == [["ours", "2.000", "", "", ""], ["theirs", "4.000", "3.00", "2.00", "5.00"]]


def test_json_holds_every_turn() -> None:
    report = Report({"threads": 2}, {"lite": "small"}, (RACE, FACTS))
    content = json.loads(report.to_json())
    race, facts = content["results"]
    assert content["environment"] == {"threads": 2}
    assert content["shapes"] == {"lite": "small"}
    assert [contender["seconds"] for contender in race["contenders"]] == [[1.0, 2.0, 4.0], [3.0, 4.0, 20.0]]
    assert race["contenders"][1]["ratio"] == {"median": 3.0, "smallest": 2.0, "largest": 5.0}
    assert facts["rows"] == [{"trained": "all", "peak MB": "12"}]
    assert facts["profile"] == "aten::mm"


def test_markdown_has_a_table_for_each_and_one_of_all_ratios() -> None:
    lines = Report({"threads": 2}, {}, (RACE, FACTS)).to_markdown().splitlines()
    assert "| step | lite | theirs: a step | 3.00 | 2.00 | 5.00 |" in lines
    assert f"## {heading_of(FACTS)}" in lines
    assert "| all | 12 |" in lines
    assert "aten::mm" in lines
    tables = [line.count("|") for line in lines if line.startswith("|")]
    assert set(tables) == {3, 6, 7}  # every row as wide as its heading


def test_a_name_is_not_a_column() -> None:
    report = Report({}, {}, (Facts("memory", "", "t", ("a",), [["x|y"]]),))
    assert r"| x\|y |" in report.to_markdown()
