"""judge-report over files of pairs, and what is printed and drawn."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from apl_bench.expressions import parse
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.spec import PluginSpec
from apl_bench.wrapping import create_oracle
from tests.cli.reported import EXACT, FIRST, NOISY, Write, call, report


def test_a_judge_is_asked_twice_and_against_labels(pairs: Path) -> None:
    (judge,) = report(pairs, "--judge", EXACT)["judges"]
    assert (judge["repeats"]["value"], judge["repeats"]["num_items"]) == (1.0, 6)
    assert judge["accuracy"]["value"] == pytest.approx(5 / 6)
    assert judge["accuracy_decided"]["value"] == 1.0
    assert judge["cost"]["calls"] == 12


def test_several_judges_both_orders_and_their_agreement(pairs: Path) -> None:
    found = report(pairs, "--judge", EXACT, "--judge", FIRST, "--order", "both", "--repeats", 1)
    one, other = found["judges"]
    assert (one["position"]["same"]["value"], other["position"]["same"]["value"]) == (1.0, 0.0)
    assert one["cost"]["calls"] == 12
    assert found["agreements"][0]["same"]["num_items"] == 6
    assert "missing" in one["repeats"]


def test_the_order_of_a_file_is_no_evidence_where_it_is_fixed(pairs: Path) -> None:
    (judge,) = report(pairs, "--judge", EXACT, "--order", "fixed")["judges"]
    assert "fixed" in judge["position"]["first"]["missing"]


def test_nothing_is_asked_twice_and_a_replay_gives_the_same(pairs: Path, tmp_path: Path) -> None:
    asked = call(pairs, "--judge", NOISY, "--json", "--ledger", tmp_path / "mine")
    num = sum(1 for file in (tmp_path / "mine").glob("*.jsonl") for _ in file.open())
    again = call(pairs, "--judge", NOISY, "--json", "--ledger", tmp_path / "mine", "--mode", "replay")
    assert asked.stdout == again.stdout
    assert num == 12
    assert call(pairs, "--judge", EXACT, "--mode", "replay").exit_code == 4


def test_what_is_said_while_asking_does_not_stand_in_the_json(pairs: Path) -> None:
    assert call(pairs, "--judge", NOISY).exit_code == 0
    done = call(pairs, "--judge", NOISY, "--mode", "refresh", "--json")
    assert json.loads(done.stdout)["judges"][0]["repeats"]["num_items"] > 0
    assert "refresh: generation 1" in done.stderr
    assert "asked again: 12 comparisons" in done.stderr


def test_a_packed_file_reads_the_same(pairs: Path, tmp_path: Path) -> None:
    packed = tmp_path / "pairs.jsonl.gz"
    packed.write_bytes(gzip.compress(pairs.read_bytes()))
    assert report(packed, "--judge", EXACT) == report(pairs, "--judge", EXACT)
    packed.write_bytes(packed.read_bytes()[:-20])
    assert "cannot be unpacked" in call(packed, "--judge", EXACT).stderr


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "is list"),
        ('{"prompt": "p", "first": "a"}', "has nothing as 'second'; expected a text"),
        ('{"prompt": "p", "first": 3, "second": "b"}', "has 3 as 'first'"),
        ('{"prompt": "p", "first": "a", "second": "b", "label": "A"}', "has the label 'A'"),
        ('{"prompt": "p", "first": "a", "second": "b", "lable": "first"}', "has 'lable'"),
        ('{"prompt": "p", "first": "\\ud800", "second": "b"}', "surrogate"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_a_line_that_is_no_pair_is_named(pairs: Path, row: str, said: str) -> None:
    with pairs.open("ab") as file:
        file.write(row.encode("utf-8", "surrogateescape") + b"\n")
    done = call(pairs, "--judge", EXACT)
    assert done.exit_code == 2
    assert "pairs.jsonl:7" in done.stderr
    assert said in done.stderr


def test_what_cannot_be_asked_for_is_refused(judged: Write, pairs: Path, tmp_path: Path) -> None:
    run = judged(EXACT, EXACT)
    (tmp_path / "empty.jsonl").write_text("\n")
    cases: list[tuple[list[object], str]] = [
        ([pairs], "nobody is named to judge them"),
        ([pairs, "--judge", EXACT, "--against", EXACT], "--against is for the comparisons of a run"),
        ([pairs, run, "--judge", EXACT], "one file of pairs"),
        ([run, "--judge", EXACT], "--judge is for a file of pairs"),
        ([run, "--repeats", 3], "--repeats is for a file of pairs"),
        ([run, "--figure", "report.gif"], "expected a name that ends in .png or .svg"),
        ([tmp_path / "empty.jsonl", "--judge", EXACT], "has no pairs"),
        ([pairs, "--judge", "classifer(model=judge)"], "Did you mean 'classifier'?"),
        ([pairs, "--judge", "classifier"], "--task"),
        ([run, "--json", "--csv"], "cannot both be printed"),
    ]
    for arguments, said in cases:
        done = call(*arguments)
        assert done.exit_code == 2, arguments
        assert said in done.stderr, done.stderr


def test_a_task_gives_what_a_judge_lacks(pairs: Path) -> None:
    (judge,) = report(pairs, "--judge", "classifier", "--task", "imdb")["judges"]
    assert judge["judge"] == 'classifier(model="judge")'


# What is printed and drawn


def test_csv_has_a_line_for_each_measure_and_says_why_one_is_missing(judged: Write) -> None:
    done = call(judged(EXACT, EXACT), "--against", FIRST, "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    found = {(row["part"], row["measure"]): row for row in rows}
    assert float(found["judge", "longer"]["value"]) == 1.0
    assert found["judge", "self_consistency"]["value"] == ""
    assert "no question was asked twice" in found["judge", "self_consistency"]["note"]
    assert {"same_verdict", "cohen_kappa", "krippendorff_alpha"} <= {row["measure"] for row in rows}
    assert {"recorded", "under_it", "difference"} <= {row["measure"] for row in rows if row["part"] == "win rate"}


def test_every_share_in_the_table_has_its_interval_and_count(pairs: Path) -> None:
    done = call(pairs, "--judge", EXACT, "--no-figure")
    line = next(line for line in done.stdout.splitlines() if line.startswith("same verdict when asked again"))
    assert line.split()[-5:-1] == ["1.000", "0.541", "1.000", "6"]  # .025^(1/6) = .541
    assert not list(pairs.parent.glob("*.png"))


def test_the_figure_goes_beside_what_it_is_about(judged: Write, pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = judged(EXACT, FIRST)
    for arguments, expected in (
        ([run], run.parent / f"judge-report-{run.name}.png"),
        ([pairs, "--judge", EXACT], tmp_path / "judge-report-pairs.png"),
        ([run, "--against", NOISY, "--figure", tmp_path / "new" / "mine.svg"], tmp_path / "new" / "mine.svg"),
    ):
        done = call(*arguments)
        assert f"figure: {expected}" in done.stderr, done.output
        assert expected.stat().st_size > 5000


def test_the_figure_shows_each_known_measure_of_each_judge(pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from apl_bench.health.opinions import asked
    from apl_bench.health.pair_file import read_pairs
    from apl_bench.health.telling import Report
    from apl_bench.report.health_figure import MAX_JUDGES, draw_health, share_rows

    with Ledger(tmp_path / "ledger") as ledger:
        items = [row.pair for row in read_pairs(pairs)]
        plugins: list[PluginSpec] = [parse(f"flip({rate / 20}, {EXACT})") for rate in range(MAX_JUDGES + 1)]
        manner = Manner(Mode.RECORD, "random")
        subjects = [asked(Judging(create_oracle(one), ledger, manner), one, items, "random") for one in plugins]
    told = Report(subjects, (), (), None)
    rows = share_rows(told, told.healths[:2])
    texts = [row.text for row in rows]
    assert "text shown first wins" in texts
    assert "same verdict when swapped" not in texts  # nobody was asked in both orders
    assert all(len(row.values) == (1 if row.of_two else 2) for row in rows)
    assert draw_health(told, tmp_path / "many.png") == [f"many.png shows {MAX_JUDGES} judges, 1 left out"]
