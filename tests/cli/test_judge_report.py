"""judge-report over recorded runs and over files of pairs: what is read, asked, refused, printed and drawn."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from apl_bench.cli.main import main
from apl_bench.expressions import parse
from apl_bench.judging import Judged, Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.records import completion_row, judged_row, to_json
from apl_bench.spec import PluginSpec, RunSpec
from apl_bench.types import Completion, Pair, Prompt
from apl_bench.wrapping import create_oracle

LONGER = ("simulated(reward=length, temperature={temperature}, tie_margin=0, position_bias={bias}, "
          "invalid_rate={invalid}, seed=0)")  # fmt: skip
EXACT = LONGER.format(temperature=0, bias=0, invalid=0)  # the text with more words
NOISY = LONGER.format(temperature=2, bias=0.3, invalid=0.2)
FIRST = "position_bias(1, " + EXACT + ")"

TABLES: dict[str, dict[str, Any]] = {
    "task": {"name": "imdb", "source": "package"},
    "strategy": {"name": "certainty"},
    "policy": {"model": "tiny", "revision": None, "dtype": "float32", "num_threads": 1},
    "loop": {"regime": "restart", "budget": 8, "labels_per_step": 4, "prompts_per_step": 8, "oversample": 1,
             "num_entropy_samples": 1, "waypoints": [0, 8]},
    "sampling": {"train_temperature": 0.7, "test_temperature": 0.25},
    "training": {"learning_rate": 1e-4, "beta": 0.2, "batch_size": 4, "epochs": 1, "adam_beta1": 0.9,
                 "adam_beta2": 0.999, "adam_epsilon": 1e-8, "max_grad_norm": 1.0},
    "evaluation": {"num_prompts": 6, "num_probe_prompts": 0},
}  # fmt: skip

Write = Callable[..., Path]


def texts(num: int, shift: int) -> list[Pair]:
    """Pairs of up to nine words; where the first has more changes from one to the next."""

    def text(length: int, name: str) -> Completion:
        return Completion(f"{' word' * length} {name}", (1, 2), finished=True)

    return [
        Pair(Prompt(f"p{i}", f"Film {i} was"), text((i + shift) % 4 + 1, "us"), text(3 * i % 5 + 1, "them"))
        for i in range(num)
    ]  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a complete run whose oracle and judge really judged its pairs: write(oracle, judge, order, seed)."""

    def run(oracle: str, judge: str, order: str = "random", seed: int = 0) -> Path:
        parts = {"oracle": parse(oracle), "judge": parse(judge)}
        plugins = {name: dict(plugin.to_table()) for name, plugin in parts.items()}
        spec = RunSpec.from_tables("lite", {**TABLES, **plugins, "judging": {"order": order}}, seed)
        path = tmp_path / "runs" / f"seed-{seed:03d}-{spec.identity[:8]}"
        for folder in ("steps", "waypoints"):
            (path / folder).mkdir(parents=True)
        (path / "spec.json").write_text(json.dumps({"identity": spec.identity, "spec": spec.to_tables()}))
        judged: list[Judged] = []
        with Ledger(tmp_path / "first-ledger") as ledger:
            asking = {name: Judging(create_oracle(plugin), ledger, Manner(Mode.RECORD, order))
                      for name, plugin in parts.items()}  # fmt: skip
            for step in (1, 2):
                found = asking["oracle"].judge(texts(4, step + seed))
                judged += found
                lines(path / "steps" / f"{step:04d}.jsonl", step_rows(step, found))
            for num_labels in (0, 8):
                found = asking["judge"].judge(texts(6, num_labels + 3 + seed))
                judged += found
                lines(path / "waypoints" / f"{num_labels:04d}.jsonl", waypoint_rows(num_labels, found))
        records = {record.key: record for item in judged for record in item.records}
        (path / "judgments.jsonl").write_bytes(b"".join(record.to_line() for record in records.values()))
        (path / "result.json").write_text("{}")
        return path

    return run


def lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(to_json(row) + "\n" for row in rows))


def step_rows(step: int, judged: Sequence[Judged]) -> list[dict[str, Any]]:
    candidates, labels = [], []
    for row, item in enumerate(judged):
        completions = [completion_row(side) for side in (item.pair.first, item.pair.second)]
        prompt = {"prompt_id": item.pair.prompt.id, "prompt": item.pair.prompt.text}
        candidates.append({"kind": "candidate", "row": row, **prompt, "completions": completions, "scores": []})
        labels.append({"kind": "label", "rank": row, "row": row, "first": 0, "second": 1, "margin": 0.0,
                       **judged_row(item)})  # fmt: skip
    return [{"kind": "step", "step": step}, *candidates, *labels]


def waypoint_rows(num_labels: int, judged: Sequence[Judged]) -> list[dict[str, Any]]:
    rows = []
    for item in judged:
        sides = {"policy": completion_row(item.pair.first), "opponent": completion_row(item.pair.second)}
        prompt = {"prompt_id": item.pair.prompt.id, "prompt": item.pair.prompt.text}
        rows.append({"kind": "comparison", **prompt, **sides, **judged_row(item)})
    return [{"kind": "waypoint", "num_labels": num_labels}, *rows]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["judge-report", *map(str, arguments)])


def report(*arguments: object) -> dict[str, Any]:
    done = call(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# Recorded runs


def test_a_run_is_read_without_asking_anybody(write: Write, tmp_path: Path) -> None:
    path = write(EXACT, FIRST)
    done = call(path)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "cache").exists()  # no ledger was opened
    oracle, judge = report(path)["judges"]
    assert (oracle["part"], judge["part"]) == ("oracle", "judge")
    # 8 labels: of the pairs of both steps those with as many words on both sides are ties
    words = [[len(side.text.split()) for side in (item.first, item.second)] for item in (*texts(4, 1), *texts(4, 2))]
    num_ties = sum(first == second for first, second in words)
    assert oracle["ties"]["value"] == num_ties / 8
    assert oracle["length"]["longer"]["value"] == 1.0
    assert judge["position"]["first"]["value"] == 1.0
    assert judge["position"]["first"]["num_items"] == judge["num_asked"]
    assert judge["position"]["first_p"] == pytest.approx(2 / 2 ** judge["num_asked"])
    assert judge["num_pairs"] == 12


def test_what_was_not_asked_is_said_and_never_a_zero(write: Write) -> None:
    path = write(EXACT, EXACT)
    judge = report(path)["judges"][1]
    assert "no question was asked twice" in judge["repeats"]["missing"]
    assert "no pair was shown in both orders" in judge["position"]["same"]["missing"]
    done = call(path)
    assert "not known: same verdict when asked again: no question was asked twice" in done.stdout
    assert "no usage recorded" in done.stdout
    assert "as labelled" not in done.stdout


def test_recorded_repeats_and_both_orders_are_taken_apart(write: Write) -> None:
    judge = report(write(EXACT, f"repeat(2, {NOISY})", order="both"))["judges"][1]
    several = judge["num_asked"]
    assert judge["cost"]["calls"] == 4 * several
    # askings that could be read: at most two questions of two askings, and two repeats in both orders
    assert 0 < judge["repeats"]["num_items"] <= 2 * several
    assert 0 < judge["position"]["same"]["num_items"] <= 2 * several
    assert 0 < judge["position"]["same"]["value"] < 1
    assert judge["calibration"]["confirmed"]["num_items"] > 0
    assert judge["order"] == "both"


def test_answers_are_those_inside_the_innermost_wrapper_that_asks_several(write: Write) -> None:
    """position_bias(1) inside: each answer names the first place, so that swapping turns every verdict."""
    judge = report(write(EXACT, f"both_orders({FIRST})"))["judges"][1]
    assert judge["position"]["same"]["value"] == 0.0
    assert judge["position"]["num_firsts"] == judge["num_asked"]
    assert judge["ties"]["value"] == 1.0  # of the verdicts: FIRST in both orders is a tie


def test_runs_with_the_same_judge_are_put_together_and_shared_pairs_count_once(write: Write, tmp_path: Path) -> None:
    write(EXACT, EXACT, seed=0)
    write(EXACT, EXACT, seed=4)  # the shift of the texts goes by fours
    write(EXACT, FIRST, seed=8)
    found = report(tmp_path / "runs")
    parts = [(judge["part"], judge["num_pairs"], judge["num_asked"]) for judge in found["judges"]]
    once = report(next((tmp_path / "runs").glob("seed-000*")))["judges"]
    assert parts == [("oracle", 24, once[0]["num_asked"]), ("judge", 24, once[1]["num_asked"]),
                     ("judge", 12, once[1]["num_asked"])]  # fmt: skip
    both = next(each for each in found["agreements"] if each["judges"] == [2, 3])
    assert both["same"]["num_items"] == once[1]["num_asked"]
    assert (tmp_path / "runs" / "judge-report.png").exists() is False  # --json draws nothing


def test_an_unsound_judge_is_said_to_be(write: Write) -> None:
    path = write(EXACT, NOISY)
    judge = report(path)["judges"][1]
    assert judge["invalid"]["value"] > 0.01
    assert not judge["sound"]
    assert "UNSOUND" in call(path).stdout


def test_a_run_that_goes_on_is_read_as_far_as_it_is(write: Write) -> None:
    path = write(EXACT, EXACT)
    (path / "result.json").unlink()
    (path / "waypoints" / "0008.jsonl").unlink()
    assert report(path)["judges"][1]["num_pairs"] == 6
    (path / "waypoints" / "0000.jsonl").unlink()
    assert "nothing was asked" in report(path)["judges"][1]["ties"]["missing"]


def test_what_is_missing_from_a_complete_run_is_named(write: Write) -> None:
    path = write(EXACT, f"both_orders({EXACT})")
    records = (path / "judgments.jsonl").read_bytes().splitlines(keepends=True)
    (path / "judgments.jsonl").write_bytes(b"".join(records[:-1]))
    done = call(path)
    assert done.exit_code == 2
    assert json.loads(records[-1])["key"] in done.stderr
    (path / "waypoints" / "0008.jsonl").unlink()
    assert "waypoints/0008.jsonl is missing" in call(path).stderr


def test_another_judge_on_a_runs_comparisons(write: Write) -> None:
    path = write(EXACT, FIRST)
    found = report(path, "--against", EXACT, "--against", FIRST)
    assert [judge["part"] for judge in found["judges"]] == ["oracle", "judge", "against", "against"]
    same = next(each for each in found["agreements"] if each["judges"] == [2, 4])
    assert same["same"]["value"] == 1.0  # the judge that decided it, asked anew

    def rate(shift: int) -> float:
        words = [[len(side.text.split()) for side in (item.first, item.second)] for item in texts(6, shift)]
        return sum(1.0 if ours > theirs else 0.5 if ours == theirs else 0.0 for ours, theirs in words) / 6

    for each, shift in zip(found["win_rates"][:2], (3, 11), strict=True):
        assert each["judge"].startswith("simulated(")
        assert each["other"]["mean"] == pytest.approx(rate(shift))
        assert each["difference"]["mean"] == pytest.approx(each["other"]["mean"] - each["recorded"]["mean"])
    assert [each["num_labels"] for each in found["win_rates"]] == [0, 8, 0, 8]
    assert all(each["difference"]["mean"] == 0 for each in found["win_rates"][2:])


def test_a_judge_takes_what_it_lacks_from_the_runs_task(write: Write) -> None:
    found = report(write(EXACT, EXACT), "--against", "classifier")
    assert found["judges"][2]["judge"].startswith('classifier(model="judge")')


# Files of pairs


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Six pairs; the label is right for those who go by words, but for the last."""
    rows = [
        {"prompt": f"Film {i} was", "first": " good" * (i + 1), "second": " good" * (6 - i) + ".", "label": label}
        for i, label in enumerate(["second", "second", "second", "first", "first", "tie"])
    ]
    path = tmp_path / "pairs.jsonl"
    lines(path, rows)
    return path


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


def test_what_cannot_be_asked_for_is_refused(write: Write, pairs: Path, tmp_path: Path) -> None:
    run = write(EXACT, EXACT)
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


def test_csv_has_a_line_for_each_measure_and_says_why_one_is_missing(write: Write) -> None:
    done = call(write(EXACT, EXACT), "--against", FIRST, "--csv")
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


def test_the_figure_goes_beside_what_it_is_about(write: Write, pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = write(EXACT, FIRST)
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
    from apl_bench.cli.health_figures import MAX_JUDGES, draw_health, share_rows
    from apl_bench.cli.health_tables import Report
    from apl_bench.health.opinions import asked
    from apl_bench.health.pair_file import read_pairs

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
